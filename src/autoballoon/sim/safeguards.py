"""The safeguards by name: what a scenario's [switches] may say it fails without. The tests hold the switches."""

SAFEGUARDS = {
    "fresh-reading": "no shrink without a reading taken after the last move",
    "silent-hold": "no move on old statistics",
    "stuck": "the target of a guest that does not give goes back to its size",
    "deflated": "the target of a guest that takes memory back goes up to its size",
    "follow": "both of these",
    "held": "what a guest would not give is promised to no other",
    "cool-down": "a guest that fought a shrink is left alone for a while",
    "learnt": "the size at which a guest fought is remembered, and left to it for a while",
    "manual": "a size that somebody else set is adopted",
    "migrating": "a guest that is being migrated away is not shrunk",
    "two-phases": "memory is granted when it is back, not when it was asked for",
    "cushion": "the host keeps memory for grants that cannot wait",
    "overhead": "what QEMU takes beyond guest memory is counted",
    "boot-target": "a guest that boots is given a size before its driver is up",
    "floor": "no guest is set below its floor",
    "end-of-memory": "a guest with nothing left gets more than it can say that it needs",
    "swap-in": "a guest that swaps in needs more than it shows",
    "appetite": "a guest that reads again what it had to drop is given room for it",
    "ask-near-edge": "a guest near the end of its memory is asked several times a second",
    "free-watch": "a tick comes early when the host's free memory falls fast",
    "load-control": "guests that may be stopped take turns when not all fit",
    "calm": "what lies idle is given out only when there has been room for a while",
    "dead-band": "small differences move nobody",
    "pace": "while the host is not short, guests shrink slowly",
}
"""Each with what it does."""
