"""What a run came to: every number of the scoreboard, taken while the world lives."""

from autoballoon.sim.check import Watcher
from autoballoon.sim.world import World
from autoballoon.views.sim_results import Result


class Score:
    """Watches one world: call it after each step, and `result` at the end."""

    def __init__(self, world: World) -> None:
        self._watchers: list[tuple[str, Watcher]] = [
            (str(type(must).__struct_config__.tag), must.watcher()) for must in world.scenario.must
        ]
        self._since: dict[str, float] = {}
        self._longest = self._over_s = 0.0

    def __call__(self, world: World) -> None:
        now, wanted = world.now, 0.0
        for guest in world.there:
            wanted += guest.used + guest.overhead(now)
            if guest.starves and guest.driver and guest.group.counts:
                since = self._since.setdefault(guest.name, now)
                self._longest = max(self._longest, now - since)
            elif guest.name in self._since:
                del self._since[guest.name]
        host = world.host
        if wanted + host.own > host.ram - host.spec.reserve.of(host.ram):
            self._over_s += float(world.scenario.step)
        for _, watcher in self._watchers:
            watcher.see(world)

    @property
    def is_lost(self) -> bool:
        """Whether something that must hold is known not to, before all is over."""
        return any(watcher.wrong is not None for _, watcher in self._watchers)

    def result(self, name: str, policy: str, world: World) -> Result:
        """The numbers, all over."""
        for _, watcher in self._watchers:
            watcher.end(world)
        counted = [guest for guest in world.guests if guest.group.counts]
        return Result(
            scenario=name,
            policy=policy,
            seed=world.seed,
            lost_s=round(sum(guest.lost_s for guest in counted), 3),
            work_s=round(sum(guest.work_s for guest in counted), 3),
            host_swap_in=int(world.host.swap_in),
            host_swap_out=int(world.host.swap_out),
            guest_swap_in=int(sum(guest.swapped_in_all for guest in counted)),
            guest_swap_out=int(sum(guest.swapped_out_all for guest in counted)),
            longest_starving_s=round(self._longest, 3),
            moves=world.keeper.moves,
            over_s=round(self._over_s, 3),
            guest_ooms=sum(guest.oom_kills for guest in counted),
            host_ooms=len(world.host.kills),
            unmet=tuple(
                f"{tag}: {watcher.unmet}" for tag, watcher in self._watchers if watcher.unmet is not None
            ),
            broken=world.keeper.broken,
            lost={guest.name: round(guest.lost_s, 3) for guest in counted if guest.lost_s >= 0.01},
        )
