"""The composition root: builds the stages, starts them in order, stops them in reverse.

The only module that knows them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from edgewhisk import __version__
from edgewhisk.actuator.outbox import Outbox
from edgewhisk.actuator.targets.http import HttpTarget
from edgewhisk.actuator.targets.modbus import ModbusTarget
from edgewhisk.actuator.targets.mqtt import MqttTarget
from edgewhisk.actuator.targets.serial import SerialTarget
from edgewhisk.api.router import Router
from edgewhisk.api.server import HttpServer, bind, certificate_of, serving, url_of
from edgewhisk.api.services import Measures, Services
from edgewhisk.base import resources
from edgewhisk.base.process import notify, occupied, process, return_memory, state_directory, told
from edgewhisk.capability.dispatcher import CapabilityDispatcher
from edgewhisk.capability.fetch import Fetch
from edgewhisk.capability.host import HostCapabilities
from edgewhisk.capability.state import ActionState
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import Config
from edgewhisk.controller.actions import Actions
from edgewhisk.controller.activations import Activations
from edgewhisk.controller.apis import Apis
from edgewhisk.controller.auth.entitlement import check_granted, is_granted
from edgewhisk.controller.auth.subjects import Subjects, greet
from edgewhisk.controller.auth.tokens import DeviceTokens
from edgewhisk.controller.controller import Controller
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.feeds import Feeds
from edgewhisk.controller.packages import Packages
from edgewhisk.controller.removal import Removal
from edgewhisk.controller.resolver import Resolver
from edgewhisk.controller.rules import Rules
from edgewhisk.controller.triggers import Triggers
from edgewhisk.device import library
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.invocation.message import BatchResult
from edgewhisk.feed.alarms.feed import AlarmsFeed
from edgewhisk.feed.changes.couchdb import CouchFeed
from edgewhisk.feed.changes.file import FileFeed
from edgewhisk.feed.http import HttpFeed
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.feed.shaping.shaping_stage import ShapingStage
from edgewhisk.gateway.clock_watcher import ClockWatcher
from edgewhisk.gateway.incidents import Incidents
from edgewhisk.gateway.loop_lag import LoopLag
from edgewhisk.gateway.supervision import Run, supervised
from edgewhisk.gateway.wiring.broker import reach_brokers
from edgewhisk.gateway.wiring.capabilities import GatewayAdapter
from edgewhisk.gateway.wiring.system_actions import provide, system_actions
from edgewhisk.gateway.wiring.uplink import uplink
from edgewhisk.invoker.composition import Composition
from edgewhisk.invoker.execution.executor import Executor
from edgewhisk.invoker.failure.breaker import Breaker
from edgewhisk.invoker.failure.failure_policy import FailurePolicy
from edgewhisk.invoker.invoker import Invoker
from edgewhisk.sandbox.pool import Sandboxes
from edgewhisk.spi import Feed
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.activations.wear import wear
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.store.log.disk import RealDisk
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.serial.ports import SerialPorts

Source = TypeVar("Source")
DRAIN: Final = 10.0  # seconds that queued work gets when the gateway stops; the journal keeps the rest
TEND: Final = 60.0  # seconds between two looks at what became too old
SLOTS: Final = 8  # live sandboxes of a runtime; each holds about 0.4 MB


class Gateway:
    """One gateway on one state directory."""

    def __init__(
        self, config: Config, progress: Callable[[str], None], clock: SystemClock | None = None
    ) -> None:
        """Nothing is touched until `running`; `progress` tells a person what takes long."""
        self._config = config
        self._progress = progress
        self._clock = clock or SystemClock()
        self._started = self._clock.monotonic()
        self._lag = LoopLag()
        self.incidents: list[str] = []
        self._told = Incidents()
        self._told.follow(lambda: self.incidents)
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The whole gateway, serving inside the block. Raises `EdgeWhiskError`."""
        config = self._config
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(state_directory(config.state_dir))
            resources.own(config.state_dir)
            self.incidents += map(str, library.survey()[1])
            self.incidents.append(greet(config.state_dir))
            self._certificate = certificate_of(config.api)
            self._subjects = Subjects(config.state_dir, self._clock)
            self._tokens = DeviceTokens(config.state_dir, self._clock)
            listener = stack.enter_context(contextlib.closing(bind(config.api.host, config.api.port)))
            self._artifacts, self._log, self._sandboxes = await self._open(stack)
            entities = Entities(self._artifacts)
            entities.load()
            resolver = Resolver(entities, config.buffer.trigger_records)
            self._invoker = self._make_invoker(resolver)
            stack.push_async_callback(self._invoker.close)
            self._sandboxes.on_ready = self._invoker.runtime_ready
            actions = Actions(entities, resolver, self._sandboxes, config.limits, self._clock, self._forget)
            self._controller = Controller(
                entities,
                resolver,
                actions,
                self._invoker,
                self._log,
                self._subjects,
                config.limits,
                self._clock,
            )
            sources = await self._sources(stack)
            self._feeds = Feeds(entities, sources, self._shaped, config.grants)
            self._open_doors(sources, stack, listener.getsockname()[1])
            self._apis = Apis(entities, self._clock, lambda: self.url)
            await self._provide(entities)
            threading.Thread(
                target=self._sandboxes.prepare_rest, args=[self._progress], name="compile", daemon=True
            ).start()
            gone = self._state.forget_all, self._feeds.stop
            removal = Removal(config.state_dir, entities, self._subjects, self._log, *gone)
            await removal.look()
            unfinished = await asyncio.to_thread(self._log.unfinished)
            await self._invoker.resume(unfinished, self._log.starts())
            stack.push_async_callback(self._invoker.drain, DRAIN)
            self.incidents += await self._feeds.restore()
            self._sync = uplink(config.cloud, self._log, self._clock_watcher, self._clock, stack)
            tasks: list[tuple[str, Run]] = [(type(feed).__name__, feed.run) for feed in sources]
            tasks += [
                ("MqttBrokers", self._brokers.run),
                ("SerialPorts", self._ports.run),
                ("Outbox", self._outbox.run),
                ("Retention", self._tend),
                ("Removal", removal.run),
                ("LoopLag", self._lag.run),
                ("ClockWatcher", self._clock_watcher.run),
            ]
            if self._sync is not None:
                tasks.append(("Sync", self._sync.run))
            if self._certificate is not None:
                tasks.append(("Certificate", self._certificate.run))
            await stack.enter_async_context(supervised(tasks))
            services = Services(
                self._subjects,
                self._controller,
                actions,
                Packages(entities, resolver, config.limits, self._clock, self._forget),
                Triggers(entities, config.limits, self._clock, self._feeds.stop),
                Rules(entities, resolver, config.limits, self._clock),
                self._apis,
                Activations(self._log),
                _one(sources, HttpFeed),
                self._tokens,
                _one(sources, MqttFeed),
                self._dead,
                self._outbox,
                self._embedded,
                config.limits,
                self._sandboxes.families(),
                lambda: self._clock.activation_ids(1)[0],
                self.status,
                self._measure,
            )
            self._router = Router(services, access_log=config.api.access_log)
            self._server = HttpServer(self._router, self._certificate.context if self._certificate else None)
            await stack.enter_async_context(serving(self._server, listener))
            self.url = self._executor.contexts.api_host = url_of(listener, tls=self._certificate is not None)
            self.incidents.append(stack.enter_context(told(config.state_dir / "url", self.url)))
            self._told.log()
            yield

    async def status(self) -> dict[str, Any]:
        """What `edgewhisk status` shows."""
        stats = self._log.stats()
        return {
            "version": __version__,
            "url": self.url,
            "state_dir": str(self._config.state_dir),
            "uptime": round(self._clock.monotonic() - self._started, 1),
            "buffer": {
                **{name: getattr(stats, name) for name in stats.__slots__},
                "refusal": self._log.refusal,
            },
            "wear": wear(stats, self._config.buffer),
            "invoker": self._invoker.describe(),
            "sandboxes": {**self._sandboxes.describe(), **self._dispatcher.describe()},
            "unruled": self._controller.unruled,
            "outbox": self._outbox.describe(),
            "clock": self._clock_watcher.describe(),
            "dead_letters": self._dead.describe(),
            **await self._feeds.survey(),
            "broker": self._embedded.describe() if self._embedded else {},
            "cloud": self._sync.describe() if self._sync else {"state": "none"},
            "incidents": self._told.lines(),
            "process": process(),
            "loop": self._lag.describe(),
            "http": {"connections": self._server.connections, "requests": self._router.answered},
        }

    async def _tend(self) -> None:
        while True:
            await asyncio.to_thread(self._log.patrol)
            self._told.log()
            await asyncio.sleep(TEND)
            await asyncio.to_thread(self._log.tend)
            await asyncio.to_thread(return_memory)

    def _problems(self) -> list[str]:
        """What is wrong now, and may be right again."""
        problem = self._certificate.problem if self._certificate else ""
        return [
            f"the disk takes nothing new: {disk}" if (disk := self._log.refusal) else "",
            f"TLS: {problem}" if problem else "",
            self._clock_watcher.problem(),
        ]

    def _measure(self) -> Measures:
        """The counters that only /metrics shows."""
        return Measures(
            self._invoker.metrics.by_action,
            self._invoker.metrics.durations,
            self._router.statuses,
            self._router.latency,
            self._lag.seconds,
        )

    async def _open(self, stack: contextlib.AsyncExitStack) -> tuple[EntityStore, ActivationLog, Sandboxes]:
        config, disk = self._config, RealDisk()
        artifacts = await asyncio.to_thread(EntityStore.open, config.state_dir / "entities", disk)
        stack.callback(artifacts.close)
        self._documents = await asyncio.to_thread(LogDocumentStore.open, config.state_dir / "shelf", disk)
        stack.push_async_callback(self._documents.close)
        self._dead = DeadLetters(self._documents, self._clock)
        self._clock_watcher = ClockWatcher(self._clock, self._documents)
        await self._clock_watcher.look()
        log = await asyncio.to_thread(
            ActivationLog.open,
            config.state_dir / "buffer",
            config.buffer,
            self._clock,
            lanes=config.lanes,
            disk=disk,
            others=partial(occupied, config.state_dir, "buffer"),
            history=self._clock_watcher.history,
            earliest=self._clock_watcher.earliest,
        )
        stack.callback(log.close)
        kept = await asyncio.to_thread(EntityStore.open, config.state_dir / "state", disk)
        stack.callback(kept.close)
        stores = (artifacts, self._documents, log, kept)
        self._told.follow(*(partial(getattr, store, "incidents") for store in stores))
        self._told.follow(self._subjects.problems, self._tokens.problems, self._problems)
        self._state = ActionState(kept)
        entitled = partial(check_granted, config.grants)
        self._dispatcher = CapabilityDispatcher(dict(self._state.operations), self._state.settle, entitled)
        cache, memory = config.state_dir / "cache", config.limits.sandbox_memory << 20
        sandboxes = Sandboxes(cache, self._clock, self._dispatcher, slots=SLOTS, memory=memory)
        stack.callback(sandboxes.close)
        await asyncio.to_thread(sandboxes.prepare_first, self._progress)
        return artifacts, log, sandboxes

    def _forget(self, name: str) -> None:
        """An action ("guest/pkg/a") was deleted: what was kept for it goes. Raises `StorageError`."""
        self._sandboxes.forget(name)
        self._invoker.forget(name)
        self._state.forget(name)

    def _make_invoker(self, resolver: Resolver) -> Invoker:
        """What runs actions; those of the gateway itself on the event loop."""

        def perform(
            bound: ResolvedAction, namespace: str, payloads: Sequence[bytes]
        ) -> asyncio.Future[BatchResult]:
            return self._controller.native(bound, namespace, payloads)

        def key_of(namespace: str) -> str:
            return self._subjects.of(namespace).auth.compact

        config, clock = self._config, self._clock
        composition = Composition(
            resolver.entitled,
            lambda: clock.activation_ids(1)[0],
            clock.now,
            lambda: clock.timing,
            config.limits.sequence_length,
        )
        careful = (config.state_dir / "url").exists()  # a life that ends by itself removes it
        self._executor = Executor(self._sandboxes, clock, key_of)
        return Invoker(
            self._executor,
            self._log,
            resolver.bound,
            composition,
            perform,
            config.limits,
            FailurePolicy(clock, Breaker(), careful=careful),
            self._dead,
            keeps=lambda bound: self._controller.keeps(bound),
            parallel=resolver.parallel,
            priority=resolver.priority,
            window=config.buffer.commit_window,
            ahead=lambda: self._brokers.ahead,
        )

    async def _sources(self, stack: contextlib.AsyncExitStack) -> list[Feed]:
        config, clock = self._config, self._clock
        reaching = reach_brokers(config, clock, self._tokens, self._certificate, stack)
        self._brokers, self._embedded, troubles = await reaching
        self.incidents += troubles
        origins = await asyncio.to_thread(self._log.origins)
        fire = self._shaped = ShapingStage(self._controller, clock, self._documents)
        self._ports, self._buses = SerialPorts(config.serial, clock), ModbusBuses(config.serial, clock)

        def may_read(subject: str, topic: str) -> bool:
            return is_granted(config.grants, subject, "mqtt", topic)

        return [
            MqttFeed(self._brokers, fire, clock, self._dead, [*origins, *self._shaped.origins()], may_read),
            SerialFeed(self._ports, fire, clock),
            ModbusFeed(self._buses, fire, clock),
            AlarmsFeed(fire, clock, self._documents),
            HttpFeed(fire, clock),
            CouchFeed(fire, clock, self._documents),
            FileFeed(config.files, fire, clock, self._documents),
        ]

    def _open_doors(self, sources: list[Feed], stack: contextlib.AsyncExitStack, api_port: int) -> None:
        """Let actions reach what is granted to them beyond their state."""
        mqtt, serial, owner = self._brokers, self._ports, self._subjects.of
        adapter = GatewayAdapter(mqtt, serial, self._controller, owner, lambda: self._router)
        host = HostCapabilities(adapter, asyncio.get_running_loop(), self._invoker.lent)
        self._dispatcher.operations.update({"http.fetch": Fetch(api_port), **host.operations})
        http = HttpTarget()
        stack.push_async_callback(http.close)
        targets = (MqttTarget(self._brokers), SerialTarget(self._ports), ModbusTarget(self._buses), http)
        self._outbox = Outbox(self._documents, self._clock, targets, self._clock_watcher.history.moment)
        self._clock_watcher.was_set += [
            self._brokers.retry_now,
            _one(sources, CouchFeed).retry_now,
            self._outbox.retry_now,
        ]
        for name, session in self._brokers.sessions.items():
            session.connected = partial(self._outbox.wake, f"mqtt:{name}")

    async def _provide(self, entities: Entities) -> None:
        """List what is in `whisk.system`."""
        offered = system_actions(self._feeds, self._outbox, self._log, self._apis, self._config.grants)
        self._controller.system.update((action.fqn, action) for action in offered)
        self.incidents += await provide(entities, offered, self._config)


async def run(
    config: Config,
    ready: Callable[[Gateway], None],
    progress: Callable[[str], None],
    clock: SystemClock | None = None,
) -> None:
    """Run a gateway until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = Gateway(config, progress, clock)
    async with gateway.running():
        ready(gateway)
        notify("READY=1")
        await stop.wait()
        notify("STOPPING=1")


def _one(sources: Sequence[Feed], kind: type[Source]) -> Source:
    """The feed of a kind."""
    return next(feed for feed in sources if isinstance(feed, kind))
