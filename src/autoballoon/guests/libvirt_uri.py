"""libvirt's connection URIs: which are of this host, and where their daemon keeps the pids of its guests."""

from urllib.parse import parse_qs, urlsplit

from autoballoon.core.errors import BadInput

_FORMS = "qemu:///system, qemu:///session or qemu:///session?socket=/PATH"


def check_uri(uri: str) -> str:
    """`uri` when it is of QEMU on this very host. BadInput, with the mend, when it is not.

    Guests of another host have nothing to give to this one. The embedded driver would run QEMU inside of us, and
    libvirt's test driver has no guests.
    """
    shown = uri[:80]
    try:
        parts = urlsplit(uri)
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise BadInput(f"{shown!r} is not a URI; write {_FORMS}") from None
    if parts.scheme not in ("qemu", "qemu+unix") or parts.path not in ("/system", "/session"):
        raise BadInput(f"{shown!r} does not name this host's QEMU; write {_FORMS}")
    if parts.netloc or parts.fragment:
        raise BadInput(f"{shown!r} names another host; run autoballoon there, and write {_FORMS} here")
    sockets = query.pop("socket", [])
    if query or len(sockets) > 1 or not all(socket.startswith("/") for socket in sockets):
        raise BadInput(f"{shown!r} may have no parameter but one socket=/PATH; write {_FORMS}")
    return uri


def key_of(uri: str, uuid: str) -> str:
    """What identifies a domain among all guests."""
    return f"{uri}#{uuid}"


def uri_of(key: str) -> str | None:
    """The URI in a key of `key_of`, checked; None for a key of another kind."""
    uri, mark, _ = key.rpartition("#")
    try:
        return check_uri(uri) if mark else None
    except BadInput:
        return None


def pid_folders(uri: str, environment: dict[str, str]) -> tuple[str, ...]:
    """Where the daemon behind a checked URI writes NAME.pid for each running domain."""
    parts = urlsplit(uri)
    sockets = parse_qs(parts.query).get("socket")
    if sockets:
        beside = sockets[0].rpartition("/")[0]
    elif parts.path == "/system":
        beside = "/run/libvirt"
    else:
        beside = environment.get("XDG_RUNTIME_DIR", "") + "/libvirt"
    return (f"{beside}/qemu" if parts.path == "/system" else f"{beside}/qemu/run",)
