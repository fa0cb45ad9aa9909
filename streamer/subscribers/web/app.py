"""The page's server as an ASGI application: what can be asked for, and the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from streamer import __version__
from streamer.bus.position import Position
from streamer.errors import BusError
from streamer.labels.action_colours import COLOURS
from streamer.subscribers.publisher_address import PublisherAddress
from streamer.subscribers.web import recorded_files
from streamer.subscribers.web.access_control import HEALTH, AccessControl, AccessRules
from streamer.subscribers.web.attention_pictures import AttentionError, AttentionPictures
from streamer.subscribers.web.client_queues import ClientQueues, TooManyClientsError
from streamer.subscribers.web.event_search import Query, Search, SearchError
from streamer.subscribers.web.event_stream import EventStream
from streamer.subscribers.web.live_pictures import Pictures
from streamer.subscribers.web.page_state import Json
from streamer.subscribers.web.publisher_feed import PublisherFeed
from streamer.subscribers.web.publisher_requests import PublisherRequests, refusal
from streamer.system.clock import SYSTEM_CLOCK, Clock

PAGE = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
LARGEST_BODY = 4096  # bytes
BODY_TIMEOUT = 5.0  # seconds
LONGEST_NAME = 500  # characters
SEARCHES = 4  # that may wait for the publisher at the same time


@dataclass(frozen=True)
class Settings:
    """What the page shows, and to whom."""

    publisher: PublisherAddress = field(default_factory=PublisherAddress)
    rules: AccessRules = field(default_factory=AccessRules)
    recordings: Path | None = None  # folder of snapshots and clips; None: the run's, where it is here
    alerts: tuple[str, ...] = ()  # labels that are alerts until a reader chooses others
    pages: int = 64  # that may be open at the same time


class Page:
    """The answers. Everything lives on the event loop that serves it."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._settings, self._clock = settings, clock
        self.queues = ClientQueues(settings.pages)
        self._ask = PublisherRequests(settings.publisher)
        self._search = PublisherRequests(settings.publisher)  # a long search keeps no correction waiting
        self._searching = 0
        self.feed = PublisherFeed(settings.publisher, self.queues, self._ask, clock, settings.recordings)
        self._pictures = Pictures(settings.publisher, self.queues, clock)
        self._thumbnails = recorded_files.Thumbnails()
        self._attention_pictures = AttentionPictures()
        self._files = dict(_files())
        self._on_fault: Callable[[BaseException], None] = lambda _: None

    def app(self, on_fault: Callable[[BaseException], None]) -> ASGIApp:
        """The application, with the access control around it. `on_fault` hears of an error after which no
        more news would come.
        """
        self._on_fault = on_fault
        routes = [
            Route("/", self._static),
            *(Route(f"/{name}", self._static) for name in self._files if name != "index.html"),
            Route("/stream", self._stream),
            Route("/history", self._history),
            Route("/preview", self._preview),
            Route("/recordings", self._recordings),
            Route("/recording", self._recording),
            Route("/scores", self._scores),
            Route("/attention", self._attention),
            Route("/mark", self._mark, methods=["POST"]),
            Route(HEALTH, self._health),
        ]
        return AccessControl(Starlette(routes=routes, lifespan=self._life), self._settings.rules)

    @asynccontextmanager
    async def _life(self, _app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for closed in (self._ask, self._search, self._attention_pictures):
                stack.callback(closed.close)
            tasks = [asyncio.create_task(self.feed.run()), asyncio.create_task(self._pictures.run())]
            for task in tasks:
                task.add_done_callback(self._ended)
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._on_fault(error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error)

    # ---- what is asked for

    async def _static(self, request: Request) -> Response:
        name = request.url.path.lstrip("/") or "index.html"
        headers = {"cache-control": "no-cache"}
        return Response(self._files[name], media_type=PAGE[Path(name).suffix], headers=headers)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def _stream(self, request: Request) -> ASGIApp | Response:
        last = request.headers.get("last-event-id") or request.query_params.get("last")
        if request.method != "GET":  # so that a page can ask why it gets no stream
            return Response(status_code=503 if self.queues.full else 200, media_type="text/event-stream")
        try:
            queue = self.queues.join()
        except TooManyClientsError as error:
            return PlainTextResponse(f"{error}\n", 503, {"retry-after": "10"})
        hello = {
            "version": __version__,
            "alerts": list(self._settings.alerts),
            "login": self._settings.rules.token is not None,
        }
        return EventStream(self.queues, queue, self.feed, self._ask, Position.of_cursor(last), hello)

    async def _history(self, request: Request) -> Response:
        try:
            query = Query.read(dict(request.query_params))
        except SearchError as error:
            return _wrong(400, "bad_request", str(error))
        if self._searching >= SEARCHES:
            return _wrong(503, "busy", "other searches are under way")
        self._searching += 1
        try:
            return JSONResponse(await Search(self._search, query).run(self._clock.wall()))
        except BusError as error:
            return _wrong(502, *refusal(error))
        finally:
            self._searching -= 1

    async def _preview(self, request: Request) -> Response:
        data = self._pictures.jpeg(request.query_params.get("camera", ""))
        if data is None:
            return PlainTextResponse("there is no live picture of this camera\n", 404)
        return Response(data, media_type="image/jpeg")

    async def _recordings(self, request: Request) -> Response:
        camera, event = (request.query_params.get(key, "") for key in ("camera", "event"))
        kept = await asyncio.to_thread(recorded_files.kept_of, self.feed.recordings, camera, event)
        return JSONResponse(kept)

    async def _recording(self, request: Request) -> Response:
        camera, event, kind = (request.query_params.get(key, "") for key in ("camera", "event", "kind"))
        folder = self.feed.recordings
        if kind == "thumbnail":
            small = await asyncio.to_thread(self._thumbnails.of, folder, camera, event)
            if small is not None:
                return Response(small, media_type="image/jpeg", headers={"cache-control": "private"})
        path = await asyncio.to_thread(recorded_files.path_of, folder, camera, event, kind)
        if path is None:
            return PlainTextResponse("there is no such recording\n", 404)
        return FileResponse(path, media_type=recorded_files.MEDIA[kind], headers={"cache-control": "private"})

    async def _scores(self, request: Request) -> Response:
        given = {key: value for key, value in request.query_params.items() if value}
        asked: Json = {key: given[key][:LONGEST_NAME] for key in ("camera", "label", "model") if key in given}
        try:
            asked |= {key: float(given[key]) for key in ("since", "until")}
            if "track" in given:
                asked["track"] = int(given["track"][:LONGEST_NAME])
        except (KeyError, ValueError):
            return _wrong(400, "bad_request", "since and until are Unix seconds, track is a person's number")
        try:
            reply = await self._ask("scores", **asked)
        except (BusError, ValueError) as error:
            code, message = refusal(BusError(str(error)))
            return _wrong(501 if code == "unknown_op" else 502, code, message)
        return JSONResponse(
            {key: reply.get(key) for key in ("model", "track", "since", "times", "series", "half_life")}
        )

    async def _attention(self, request: Request) -> Response:
        """Where the model looked in an event's clip. Which models there are is what the run says."""
        camera, event, model, label = (
            request.query_params.get(key, "") for key in ("camera", "event", "model", "label")
        )
        model_id = self.feed.features.models.get(model)
        folder = self.feed.recordings
        clip = await asyncio.to_thread(recorded_files.path_of, folder, camera, event, "clip")
        if model_id is None or clip is None or len(label) > LONGEST_NAME or "\0" in label:
            return _wrong(404, "unknown", "no clip of this event is kept here, or its model is not known")
        try:
            span = await asyncio.to_thread(recorded_files.span_of, clip, event)
            data = await asyncio.to_thread(self._attention_pictures.of, clip, model_id, label, span)
        except AttentionError as error:
            return _wrong(503 if error.busy else 502, "busy" if error.busy else "failed", str(error))
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private"})

    async def _mark(self, request: Request) -> Response:
        try:
            mark = await _read_mark(request)
        except _RefusedError as error:
            return _wrong(error.status, "bad_request", str(error))
        try:
            reply = await self._ask("mark", **mark)
        except BusError as error:
            code, message = refusal(error)
            if code == "unknown_op":
                return _wrong(501, code, "the running streamer is too old to keep corrections")
            return _wrong(502, code, message)
        return JSONResponse({key: value for key, value in reply.items() if key != "id"})


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _read_mark(request: Request) -> Json:
    """The correction in a request: camera, event, and the right label or None. Raises _RefusedError."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _RefusedError(415, "send application/json")
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await _body(request)
        given = json.loads(body)
    except TimeoutError:
        raise _RefusedError(408, f"the request did not arrive within {BODY_TIMEOUT:g} s") from None
    except (ValueError, RecursionError, ClientDisconnect):
        raise _RefusedError(400, "the request is no JSON") from None
    if not isinstance(given, dict):
        raise _RefusedError(400, "send one JSON object")
    mark = {key: given.get(key) for key in ("camera", "event", "label")}
    for key, value in mark.items():
        if value is None and key == "label":
            continue  # nothing of the kind happened
        if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME:
            raise _RefusedError(400, f"{key} must be text of 1 to {LONGEST_NAME} characters")
    return mark


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_BODY:
            raise _RefusedError(413, f"a request may have {LARGEST_BODY} bytes")
    return bytes(data)


def _wrong(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": message, "code": code}, status)


def _files() -> list[tuple[str, bytes]]:
    """The page's files, as they are in the package."""
    folder: Any = resources.files("streamer.subscribers.web").joinpath("page")
    found = [(file.name, file.read_bytes()) for file in folder.iterdir() if Path(file.name).suffix in PAGE]
    return [*found, ("colours.css", _colours().encode())]


def _colours() -> str:
    """What `data-colour` means in the page: the colours that the terminal has too."""
    rule = '[data-colour="{}"] {{ --colour: {}; --on-colour: {}; }}\n'
    return "".join(rule.format(number, one.fill, one.on) for number, one in enumerate(COLOURS))
