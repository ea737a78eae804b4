"""A process whose threads lie in groups of their own, as libvirt arranges QEMU's.

`python threads.py GROUP EMULATOR VCPU`: enters GROUP, then puts its first thread into EMULATOR and another into VCPU,
takes 40 MiB, and waits.
"""

import sys
import threading
import time
from pathlib import Path

group, emulator, vcpu = map(Path, sys.argv[1:])
(group / "cgroup.procs").write_text("0")
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
(other,) = (one.native_id for one in threading.enumerate() if one is not threading.main_thread())
(emulator / "cgroup.threads").write_text(str(threading.main_thread().native_id))
(vcpu / "cgroup.threads").write_text(str(other))
taken = b"x" * (40 << 20)
print("up", flush=True)
time.sleep(1000)
