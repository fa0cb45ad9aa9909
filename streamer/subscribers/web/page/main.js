// Brings the parts together: what the stream says goes into the store, and from there onto the page.

import * as alerts from "./alerts.js"
import * as cameraList from "./cameras.js"
import * as details from "./details.js"
import { $, clock, put, show } from "./dom.js"
import { Rows } from "./events.js"
import * as filters from "./filters.js"
import * as history from "./history.js"
import * as prefs from "./prefs.js"
import * as say from "./say.js"
import * as store from "./store.js"
import { follow } from "./stream.js"
import * as timeline from "./timeline.js"

const RECENT = innerWidth < 740 ? 10 : 20
const recent = new Rows($("recent-rows"))
let begun = false
let shownLink = ""
let wasLost = false
let drawing = false

// ---- drawing: soon, at most a few times a second, whatever arrives

function redraw() {
  if (drawing) return
  drawing = true
  setTimeout(() => {
    drawing = false
    draw()
  }, 150)
}

function draw() {
  cameraList.draw()
  timeline.draw(alerts.isAlert)
  const list = store.newestFirst().filter(filters.wants).slice(0, RECENT)
  recent.show(list, alerts.isAlert)
  show($("no-recent"), !list.length)
  show($("filtered"), filters.filtered())
  filters.draw()
  drawPictures()
  alerts.draw()
  alerts.drawChoice()
  history.drawChoices()
  details.draw()
  drawLink() // after all else: nothing moves under the hand of who presses a button once it is live
}

// ---- pictures: what the run does with them, and how to change that

function drawPictures() {
  const { known, live, recordings, snapshots, clips } = store.features
  const come = live || [...store.cameras.values()].some(store.hasPicture)
  const keeps = [snapshots && "a picture", clips && "a clip"].filter(Boolean).join(" and ")
  show($("pictures-row"), come)
  show($("pictures-off"), known && !come && !keeps)
  put($("pictures-state"), [come ? "This run sends live pictures." : known ? "This run sends no live pictures." : "Whether this run sends pictures is not known.",
    keeps ? `It keeps ${keeps} of each event.` : recordings ? "It keeps none of events; those that were kept before are shown." : known ? "It keeps none." : ""].join(" "))
  show($("pictures-how"), known && !(come && keeps))
  put($("pictures-how"), "Whoever starts the run decides: streamer run … --web --pictures show for live pictures, --pictures keep for these and a clip of each event, --pictures off for none.")
}

// ---- the connection, in words

const PAGE = {
  connecting: "Connecting", gone: "Disconnected: the page's server does not answer. Trying again",
  silent: "Disconnected: the page's server is silent. Trying again",
}

function drawLink() {
  const { page, bus, endpoint, detail } = store.link
  let text = page === "live" ? PAGE.connecting : PAGE[page] ?? `Disconnected: ${store.link.pageDetail}`
  if (page === "live" && endpoint) {
    text = { live: "Live", connecting: `Waiting for streamer at ${endpoint}`,
      silent: `No news: streamer at ${endpoint} is silent since ${clock(store.link.since)}. Waiting for it`,
      refused: `No news: ${detail}` }[bus] ?? bus
  }
  const ok = page === "live" && bus === "live"
  const lost = !ok && text !== PAGE.connecting
  $("link").dataset.state = ok ? "live" : lost ? "stale" : "connecting"
  document.body.dataset.stale = !ok
  put($("link-text"), text)
  if (text === shownLink) return
  shownLink = text
  if (lost) say.now(`${text}.`)
  else if (ok && wasLost && begun) say.now("Live again.")
  wasLost = lost
}

// ---- what is said about changes

function tell({ event, before }) {
  const news = !before || (before.phase !== "end" && event.phase === "end")
  if (!before && alerts.raise(event)) return
  if (news && !event.background) say.change(`event ${event.id}`, say.sentence(event))
}

function sayStates(before) {
  for (const [name, camera] of store.cameras) {
    const state = camera.status?.state
    if (before.has(name) && before.get(name) !== state && state) say.change(`camera ${name}`, `${name}: ${state}`)
  }
}

const states = () => new Map([...store.cameras].map(([name, camera]) => [name, camera.status?.state]))

function sayBeginning() {
  const all = store.cameras.size
  const lost = [...store.cameras.values()].filter(store.isLost).map((camera) => camera.camera)
  const lostText = lost.length ? `lost: ${lost.join(", ")}` : "none lost"
  if (all) say.now(`${all} camera${all === 1 ? "" : "s"}, ${lostText}.`)
  return all > 0
}

// ---- the stream

const handlers = {
  page(state, detail) {
    if (store.link.page === state && store.link.pageDetail === detail) return
    store.link.page = state
    store.link.pageDetail = detail
    redraw()
  },
  hello(told) {
    alerts.setUp(told.alerts, redraw)
    put($("about"), `streamer ${told.version}`)
    show($("logout"), told.login)
  },
  state(told) {
    const before = states()
    const changes = store.takeState(told)
    Object.assign(store.link, { bus: told.link.state, since: told.link.since, detail: told.link.detail, endpoint: told.endpoint })
    Object.assign(store.features, told.features)
    show($("gap"), !told.complete)
    if (!told.complete) put($("gap"), "Some older events could not be fetched; the history below has what there is.")
    if (begun) {
      changes.forEach(tell)
      sayStates(before)
    } else {
      for (const { event } of changes) if (event.phase !== "end") alerts.raise(event)
      begun = sayBeginning()
      if (begun) wasLost = false // the beginning has been said
    }
    redraw()
  },
  event(told) {
    const change = store.takeEvent(told)
    if (change) tell(change)
    store.forgetOldest()
    redraw()
  },
  status(told) {
    const before = states()
    store.camera(told.camera).status = told
    sayStates(before)
    redraw()
  },
  prediction(told) {
    store.camera(told.camera)
    store.takePrediction(told)
    redraw()
  },
  preview({ camera, seq, tracks }) {
    if (!store.cameras.has(camera)) return
    Object.assign(store.camera(camera), { preview: seq, previewAt: store.now(), previewTracks: tracks })
    redraw()
  },
  link(told) {
    Object.assign(store.link, { bus: told.state, since: told.since, detail: told.detail })
    redraw()
  },
  workers(told) {
    const before = new Map(store.workers)
    store.takeWorkers(told)
    for (const [name, state] of store.workers) {
      if (before.has(name) && before.get(name) !== state) say.change(`worker ${name}`, `worker ${name}: ${state}`)
    }
    redraw()
  },
  gap({ count, reason }) {
    show($("gap"), true)
    put($("gap"), `${count} event message${count === 1 ? "" : "s"} cannot be had any more (${reason}).`)
  },
}

// ---- settings

filters.setUp(redraw)
$("speak-changes").checked = prefs.get("speak", true)
$("speak-changes").addEventListener("change", (event) => {
  prefs.set("speak", event.target.checked)
  say.enable(event.target.checked)
})
say.enable(prefs.get("speak", true))
$("pictures").checked = prefs.get("pictures", true)
$("pictures").addEventListener("change", (event) => {
  prefs.set("pictures", event.target.checked)
  cameraList.showPictures(event.target.checked)
})
cameraList.showPictures(prefs.get("pictures", true))
cameraList.setUp(details.openCamera)
history.setUp(alerts.isAlert)
setInterval(redraw, 1000)
follow(handlers)
