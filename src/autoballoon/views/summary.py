"""How the daemon is, in one sentence: what a service manager shows of it."""

from autoballoon.core.units import size_text
from autoballoon.views.status import Status, guarantee


def summary(status: Status) -> str:
    """DRY RUN first; guests, books, and how many things keep guests from being balanced."""
    daemon, account = status.daemon, status.daemon.account
    count, problems = len(status.snapshot.guests), len(daemon.problems)
    parts = [
        f"{count} guest{'' if count == 1 else 's'}, promised {size_text(account.charges)} of "
        f"{size_text(account.pool)}",
        guarantee(account),
    ]
    if account.short:
        parts.append("the host is short")
    if problems:
        parts.append(f"{problems} problem{'' if problems == 1 else 's'}, see `autoballoon status`")
    return f"{'DRY RUN: ' if daemon.dry_run else ''}{'; '.join(parts)}"
