"""What a line of the control protocol says, and what is answered; docs/reference/control-protocol.md."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec

VERSION = 1


class Refused(Exception):
    """A request that is answered with an error; `code` is for programs, `says` for people."""

    def __init__(self, code: str, says: str) -> None:
        super().__init__(says)
        self.code = code
        self.says = says


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a verb takes; this one takes nothing."""


class Verb(msgspec.Struct, frozen=True):
    """One verb: its arguments, and who answers. What is answered may have to be waited for."""

    args: type[Args]
    answer: Callable[[Any], object | Awaitable[object]]


Verbs = Mapping[str, Verb]

Identity = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] | Annotated[str, msgspec.Meta(max_length=64)]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request whose verb and arguments have not been looked at yet."""

    v: int
    id: Identity
    do: str
    args: dict[str, Any] = {}


def fields_of(line: bytes) -> dict[str, Any]:
    """The object in a line."""
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("bad-json", "the line is not JSON; send one object a line") from None
    if not isinstance(fields, dict):
        raise Refused("bad-request", 'the line is not an object; send {"v":1,"id":1,"do":"status","args":{}}')
    return fields


def request_of(fields: dict[str, Any]) -> Request:
    """The request in an object."""
    if fields.get("v") != VERSION:
        raise Refused(
            "bad-version", f"this daemon speaks version {VERSION} of the protocol; send v = {VERSION}"
        )
    try:
        return msgspec.convert(fields, Request)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Refused("bad-request", f"{error}"[:300]) from None


def verb_of(request: Request, verbs: Verbs) -> tuple[Verb, Args]:
    """The verb that a request names, with its arguments."""
    verb = verbs.get(request.do)
    if verb is None:
        raise Refused(
            "unknown-verb", f"there is no verb {request.do[:40]!r}; the verbs are {', '.join(verbs)}"
        )
    known = [field.encode_name for field in msgspec.structs.fields(verb.args)]
    for key in request.args:
        if key not in known:
            takes = f"args {', '.join(known)}" if known else "no args; leave them out"
            raise Refused("bad-args", f"{request.do} has no arg {key[:40]!r}; it takes {takes}")
    try:
        return verb, msgspec.convert(request.args, verb.args)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Refused("bad-args", f"{request.do}: {error}"[:300]) from None


def ok(identity: Identity, data: object) -> bytes:
    """The line that answers a request."""
    return msgspec.json.encode({"v": VERSION, "id": identity, "ok": True, "data": data}) + b"\n"


def error(identity: object, refused: Refused) -> bytes:
    """The line that refuses one; it names the request by its id, unless that is none that we would take."""
    try:
        known = msgspec.convert(identity, Identity | None)
    except msgspec.ValidationError:
        known = None
    told = {"code": refused.code, "says": refused.says}
    return msgspec.json.encode({"v": VERSION, "id": known, "ok": False, "error": told}) + b"\n"
