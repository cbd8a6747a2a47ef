"""The composition root: builds everything, owns start, stop and reload."""

import asyncio
import functools
import itertools
import os
import random
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, replace

import httpx
import structlog

from exporter import __version__, status
from exporter.cli.run import Load, ServeRequest, show_first_polls
from exporter.clock import Clock, SystemClock
from exporter.config.model import Settings, TargetOptions
from exporter.errors import LedgerError, MachineError, Reason, SettingsError
from exporter.explain.reader import Explainer, Explanations
from exporter.exposition import catalogue
from exporter.exposition.engagement import EngagementGauges
from exporter.exposition.follower import Follower
from exporter.exposition.page import MetricsPage
from exporter.exposition.publisher import Publisher
from exporter.http_client.client import ApiClient
from exporter.http_client.detached import Blocking, Detached, inline
from exporter.http_client.transport import Transport, trusted_certificates
from exporter.ledger.engine import clock_of
from exporter.ledger.offload import Offload, WorkerThread
from exporter.ledger.store import Ledger
from exporter.ledger.writes import WriteHealth
from exporter.model.query import QueryKey, QuerySpec
from exporter.model.samples import SECOND_MS, Family, SelfCount
from exporter.polling import schedule
from exporter.polling.key_watch import KeyWatch
from exporter.polling.poll import PollContext, PollResult, ScheduledQuery
from exporter.polling.poller import GRACE_S, Poller
from exporter.providers.base.plugin import LabelSettings, Provider, Target
from exporter.status import Status
from exporter.telemetry import systemd
from exporter.telemetry.counters import FAMILIES, Telemetry
from exporter.web import app as web
from exporter.web import server
from exporter.web.app import Reload, Sources
from exporter.web.webconfig import Watched

log = structlog.get_logger(__name__)

TICK_S = 0.5
WEB_STOP_S = 2.0
TICKS_TO_RETRY = 60
UNHEALTHY_AFTER_S = 60.0
EXPLAINED_AT_ONCE = 50
READ_FILES_S = 5.0
HUNG_LOADS = 20
"""How many loads of the settings may hang, each on a thread, before no more are tried."""
REVISION = "CHATBOT_EXPORTER_REVISION"
"""The variable that the image sets to the commit it was built from."""
UNREADABLE = f"the settings file, or one that it names, could not be read within {READ_FILES_S:g} s"


@dataclass(frozen=True, slots=True)
class Environment:
    """What the program takes from outside: time, randomness, the network, its providers.

    ``grace_s`` is how long polls may go on after a stop. ``blocking`` reads key files off the event
    loop; all targets trust ``certificates`` (None: the default ones). ``reading`` runs ledger calls
    in parallel to ``offload``, if the ledger allows that; ``computing`` runs what needs no ledger,
    so that no ledger call waits for it.
    """

    clock: Clock
    rng: random.Random
    providers: Mapping[str, Provider]
    offload: Offload
    transport: httpx.AsyncBaseTransport | None = None
    blocking: Blocking = inline
    certificates: ssl.SSLContext | None = None
    revision: str = "unknown"
    grace_s: float = GRACE_S
    reading: Offload | None = None
    computing: Offload | None = None

    def reads(self, *, shared: bool) -> Offload:
        """Return the offload for reading a ledger; a ``shared`` one can be read during writes."""
        return self.reading if shared and self.reading else self.offload


@dataclass(frozen=True, slots=True)
class ConfiguredTarget:
    """A target built from its settings, with its own client."""

    options: TargetOptions
    rules: LabelSettings
    target: Target
    api: ApiClient


class App:
    """The exporter: while ``opened`` it shows what the ledger has; ``run`` polls until ``stop``.

    ``listen`` is the address that it serves (None: that of the settings).
    """

    def __init__(
        self, settings: Settings, environment: Environment, listen: str | None = None
    ) -> None:
        self._settings = settings
        self._listen = listen or settings.web.listen
        environment = replace(environment, clock=clock_of(settings.ledger.url, environment.clock))
        self._environment = environment
        self._started_ms = self._loaded_ms = environment.clock.now_ms()
        self._refused_ms: int | None = None
        self._stop = asyncio.Event()
        self._opened = False
        self._reloading = asyncio.Lock()
        self._loads: set[object] = set()
        self._recent = status.RecentPolls()
        self._specs: Mapping[QueryKey, QuerySpec] = {}
        self._targets: Mapping[str, ConfiguredTarget] = {}
        self.telemetry = Telemetry(environment.revision)
        self._writes = WriteHealth(environment.clock, self.telemetry)
        families = catalogue.families(environment.providers, settings.targets)
        self._families = families | {family.name: family for family in FAMILIES}
        self.page = MetricsPage(self._families, self.telemetry.exposed)

    @property
    def sources(self) -> Sources:
        """Return everything that the web package serves."""
        return Sources(
            exposition=self.page,
            healthy=self.healthy,
            ready=self.ready,
            status=self.status,
            explain=self.explain,
            families=lambda: status.families(self._publisher.states, self._families),
            hosts=self._hosts,
            verify=self._verify if self._opened and self._ledger.shared else None,
        )

    def ready(self) -> bool:
        """Return whether the ledger is open, and not all writes of the last five minutes failed."""
        taking = not self._stop.is_set() and not self._writes.unready()
        return self._opened and taking and self._follower.verified

    def _verify(self) -> Awaitable[bool]:
        """Verify the page on the main event loop, on behalf of the web thread's."""
        verifying = asyncio.run_coroutine_threadsafe(self._follower.verify(), self._loop)
        return asyncio.wrap_future(verifying)

    def healthy(self) -> bool:
        """Return whether the poll loop turns; always true before it starts and while it stops."""
        starting_or_stopping = not self._opened or self._stop.is_set()
        return starting_or_stopping or self._poller.idle_s() < UNHEALTHY_AFTER_S

    def _hosts(self) -> frozenset[str]:
        """Return the hosts that requests may name: those in the settings and of ``--listen``."""
        listening = (self._listen, self._settings.web.listen)
        hosts = (address.rpartition(":")[0].strip("[]") for address in listening)
        return frozenset(map(str.lower, (*self._settings.web.allowed_hosts, *hosts)))

    def status(self) -> Status:
        """Return the status of everything; safe from any thread."""
        counts = {name: dict(found) for name, found in list(self.telemetry.counts.items())}
        return Status(
            version=__version__,
            now_ms=self._environment.clock.now_ms(),
            started_ms=self._started_ms,
            config_hash=self._settings.source.digest,
            config_loaded_ms=self._loaded_ms,
            targets=status.targets(
                self._publisher.states, counts, self._recent, self._engagement.bots
            ),
            superseded=tuple("/".join(key) for key in self._poller.superseded),
            config_refused_ms=self._refused_ms,
            ledger_failing_since_ms=self._writes.failing_since_ms,
        )

    def explain(self, selector: str, first: int) -> Explanations:
        """Explain one page of the series that ``selector`` matches, from number ``first`` on."""
        url, now_ms = self._settings.ledger.url, self._environment.clock.now_ms()
        with closing(Explainer(url, self._specs, self._families, now_ms)) as explainer:
            return explainer.answer(selector, first, EXPLAINED_AT_ONCE)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open the ledger and show what it has until the block ends; raises ``LedgerError``."""
        environment = self._environment
        self._loop = asyncio.get_running_loop()
        self._ledger = await environment.offload(
            functools.partial(
                Ledger,
                self._settings.ledger.url,
                clock=environment.clock,
                families=self._families,
                allow_network_fs=self._settings.ledger.allow_network_fs,
                writes=self._writes,
            )
        )
        try:
            await self._begin()
            self._opened = True
            yield
        finally:
            await environment.offload(self._ledger.close)

    async def _begin(self) -> None:
        offload = self._environment.offload
        self.telemetry.add(await offload(self._ledger.self_counts))
        if await offload(self._ledger.correct_clock):
            self.telemetry.increment("clock_steps_total")
            log.warning("the wall clock was set back while the exporter was down")
        self._connect()
        try:
            await self._adopt(self._settings)
            await self._follower.begin()
            await self._publisher.restart(self._specs)
            await self._follower.verify()
        finally:
            await offload(self._ledger.ensure_sound)  # before anything is served

    def _connect(self) -> None:
        """Build everything that uses the ledger."""
        environment = self._environment
        self._engagement = EngagementGauges(
            ledger=self._ledger,
            page=self.page,
            clock=environment.clock,
            offload=environment.offload,
            computing=environment.computing or environment.offload,
        )
        reading = environment.reads(shared=self._ledger.shared)
        self._publisher = Publisher(
            ledger=self._ledger,
            writes=self._writes,
            page=self.page,
            clock=environment.clock,
            telemetry=self.telemetry,
            offload=environment.offload,
            families=self._families,
            reading=reading,
            engagement=self._engagement,
        )
        self._poller = Poller(
            PollContext(
                ledger=self._ledger,
                clock=environment.clock,
                rng=environment.rng,
                telemetry=self.telemetry,
                offload=environment.offload,
                published=self._publisher.refresh,
            ),
            ended=self._poll_ended,
            blocked=self._publisher.blocked,
            clock_corrected=self._publisher.clock_corrected,
            grace_s=environment.grace_s,
        )
        self._follower = Follower(
            replica=self._ledger.replica,
            publisher=self._publisher,
            page=self.page,
            clock=environment.clock,
            telemetry=self.telemetry,
            offload=environment.offload,
            reading=reading,
            abandon=self._poller.abandon,
        )

    async def run(self) -> None:
        """Poll and publish until ``stop``, then end within ten seconds."""
        async with asyncio.TaskGroup() as group:
            ticking = [
                group.create_task(each)
                for each in (self._tick(), self._watch_keys(), self._engagement.run())
            ]
            polling = group.create_task(self._poller.run())
            await self._stop.wait()
            systemd.notify(systemd.STOPPING)
            self._ledger.hurry()
            self._poller.stop()
            await polling
            for task in ticking:
                task.cancel()

    def stop(self) -> None:
        """Let ``run`` return."""
        self._stop.set()

    async def reload(self, load: Load) -> tuple[str, ...]:
        """Put the settings that ``load`` returns in force, or keep the old ones and return why.

        Unchanged targets keep schedule, budget, circuit and counters; open circuits of changed
        targets are closed. Once the settings are in force, a later failure does not undo them: it
        is logged and counted, and the next poll repeats what is missing. One reload at a time.
        """
        async with self._reloading:
            return await self._reload(load)

    async def _reload(self, load: Load) -> tuple[str, ...]:
        before = {each.name: each for each in self._settings.targets}
        try:
            settings = await self._read(load)
            await self._adopt(settings)
        except (SettingsError, MachineError, LedgerError, OSError) as error:
            self.telemetry.set("config_last_reload_successful", 0)
            self._refused_ms = self._environment.clock.now_ms()
            errors = tuple(str(error).splitlines()) or (UNREADABLE,)
            log.warning("settings refused", error="; ".join(errors))
            return errors
        digest, targets = settings.source.digest, len(settings.targets)
        log.info("settings reloaded", digest=digest, targets=targets)
        changed = [each.name for each in settings.targets if each != before.get(each.name)]
        with suppress(LedgerError):
            await self._publisher.restart(self._specs)
        with suppress(LedgerError):
            close = functools.partial(
                self._ledger.close_circuits, changed, attempted_before_ms=self._loaded_ms
            )
            await self._environment.offload(close)
        self._poller.wake()
        return ()

    async def _read(self, load: Load) -> Settings:
        """Return what ``load`` returns: never what an earlier load that hung has read."""
        if len(self._loads) >= HUNG_LOADS:
            raise TimeoutError

        def loading() -> Settings:
            self._loads.add(key)
            try:
                return load()
            finally:
                self._loads.discard(key)

        key = object()
        async with asyncio.timeout(READ_FILES_S):
            return await self._environment.blocking(key, loading)

    def _poll_ended(self, ended: PollResult) -> None:
        self._recent.note(ended)
        if ended.outcome == Reason.LEDGER:
            self._publisher.not_committed(ended.key, ended.before)
        elif ended.outcome != Reason.CLAIM_LOST:  # then the new holder's outcome counts
            self._publisher.ended(ended.key)

    async def _adopt(self, settings: Settings) -> None:
        """Put ``settings`` in force; nothing has changed if this raises."""
        rules = LabelSettings(limits=settings.limits, privacy=settings.privacy)
        targets = {each.name: self._configured(each, rules) for each in settings.targets}
        queries = {
            query.spec.key: ScheduledQuery(query, each.api)
            for each in targets.values()
            for query in each.target.queries
        }
        paced = schedule.in_turns(scheduled.query.spec for scheduled in queries.values())
        specs = {spec.key: spec for spec in paced}
        families = catalogue.families(self._environment.providers, settings.targets)
        counted = await self._sync(settings, specs, families, targets)
        # No await from here to ``assign``: the ledger may claim the queries now.
        self._families |= (
            families  # families are only added: what still shows a former one finds it
        )
        self._poller.assign(queries)
        self.telemetry.keep(targets.keys())
        self.telemetry.restore(counted)
        built = [each.target for each in targets.values()]
        self._keys = KeyWatch({target.name: target.keys or target.sign for target in built})
        self._recent.keep(specs.keys())
        self._targets, self._specs, self._settings = targets, specs, settings
        now_ms = self._environment.clock.now_ms()
        self._loaded_ms, self._refused_ms = now_ms, None
        self.telemetry.set("config_last_reload_successful", 1)
        self.telemetry.set("config_last_reload_success_timestamp_seconds", now_ms / SECOND_MS)

    async def _sync(
        self,
        settings: Settings,
        specs: Mapping[QueryKey, QuerySpec],
        families: Mapping[str, Family],
        targets: Mapping[str, ConfiguredTarget],
    ) -> Mapping[SelfCount, float]:
        """Make ``specs`` the ledger's queries; return the self counts of new targets."""
        ledger, offload = self._ledger, self._environment.offload
        renames = {o.renamed_from: o.name for o in settings.targets if o.renamed_from}
        added = targets.keys() - self._targets.keys() if self._opened else ()
        counted = await offload(functools.partial(ledger.self_counts, added))
        sync = functools.partial(ledger.sync_queries, list(specs.values()), renames)
        await offload(functools.partial(sync, families=families))
        ledger.max_bytes = settings.ledger.max_size
        return counted

    def _configured(self, options: TargetOptions, rules: LabelSettings) -> ConfiguredTarget:
        """Return the target of ``options``; if unchanged, the existing one with its client."""
        before = self._targets.get(options.name)
        if before and (before.options, before.rules) == (options, rules):
            return before
        target = self._environment.providers[options.provider].build(options, rules)
        return ConfiguredTarget(options, rules, target, self._api(target))

    def _api(self, target: Target) -> ApiClient:
        def observe(code: str, seconds: float) -> None:
            self.telemetry.count(
                "api_requests_total", target=target.name, provider=target.provider, code=code
            )
            self.telemetry.observe("api_request_duration_seconds", seconds, target.provider)

        return ApiClient(
            base_url=target.base_url,
            sign=target.sign,
            transport=Transport(self._environment.transport, self._environment.certificates),
            clock=self._environment.clock,
            requests_per_second=target.requests_per_second,
            blocking=self._environment.blocking,
            observe=observe,
        )

    async def _tick(self) -> None:
        for number in itertools.count():
            await self._environment.clock.sleep(TICK_S)
            self._publisher.show_liveness()
            if self.healthy():
                systemd.notify(systemd.ALIVE)
            if self._writes.failing and number % TICKS_TO_RETRY:
                continue
            with suppress(LedgerError):
                await self._publisher.expire()
            with suppress(LedgerError):
                if self._writes.failing:  # perhaps no poll is due that would notice the recovery
                    await self._environment.offload(self._ledger.try_write)
                await self._follower.verify()
                await self._publisher.tick()

    async def _watch_keys(self) -> None:
        """Retry refused targets whose key has changed; a key file that hangs delays the others by 5 s."""
        while True:
            await self._environment.clock.sleep(TICK_S)
            refused = {
                state.target for state, _ in self._publisher.states if state.circuit == "open"
            }
            async with asyncio.TaskGroup() as group:
                for target in refused:
                    group.create_task(self._try_new_key(target, self._keys))

    async def _try_new_key(self, target: str, keys: KeyWatch) -> None:
        look = functools.partial(keys.changed, target)
        with suppress(LedgerError, OSError):  # the file hangs, or no thread can start
            async with asyncio.timeout(READ_FILES_S):
                changed = await self._environment.blocking((keys, target), look)
            if changed:
                log.info("trying a new key", target=target)
                close = functools.partial(self._ledger.close_circuits, [target])
                await self._environment.offload(close)
                self._poller.wake()


async def serve(request: ServeRequest) -> None:
    """Run the exporter that ``request`` describes until SIGTERM or SIGINT.

    Raises ``LedgerError``, ``ListenError``, ``MachineError`` and ``SettingsError`` before anything
    is served.
    """
    clock = SystemClock()
    environment = Environment(
        clock=clock,
        rng=random.SystemRandom(),
        providers=request.providers,
        offload=WorkerThread("ledger"),
        reading=WorkerThread("reading"),
        computing=WorkerThread("engagement"),
        blocking=Detached(),
        certificates=trusted_certificates(os.environ, log.warning),
        revision=os.environ.get(REVISION, "unknown"),
        grace_s=GRACE_S if request.grace_s is None else request.grace_s,
    )
    app = App(request.settings, environment, request.listen)
    stops = (signal.SIGTERM, signal.SIGINT, *(() if request.load else (signal.SIGHUP,)))
    watched = None if request.web_config is None else Watched(request.web_config, log.warning)
    async with app.opened():  # until here a stop ends the process: a large file is checked long
        for number in stops:
            asyncio.get_running_loop().add_signal_handler(number, app.stop)
        sources = app.sources
        if request.load is not None:
            sources = replace(sources, reload=_reloading(app, request.load))
        serving = _serving(request.listen, sources, watched)
        request.started(serving.address)
        systemd.notify(systemd.READY)
        progress = asyncio.create_task(show_first_polls(app.status, clock))
        try:
            await app.run()
        finally:
            progress.cancel()
            await asyncio.to_thread(serving.stop, WEB_STOP_S)
            for number in stops:  # else a second one would end what is left to do
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)


def _serving(listen: str, sources: Sources, watched: Watched | None) -> server.Serving:
    if watched is None:
        return server.start(listen, web.build(sources))
    application = web.build(sources, watched.access)
    return server.start(listen, application, tls=watched.context, admits=watched.admits)


def _reloading(app: App, load: Load) -> Reload:
    """Return a reload for the web thread that runs on this loop; reload on SIGHUP as well."""
    loop = asyncio.get_running_loop()

    def on_request() -> Awaitable[tuple[str, ...]]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(app.reload(load), loop))

    reloads: set[asyncio.Task[tuple[str, ...]]] = set()

    def on_hangup() -> None:
        task = loop.create_task(app.reload(load))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    return on_request
