// One card for each camera: its state, what happens there now, and a live picture where the run sends one.

import { colour } from "./colours.js"
import { $, clock, el, lasted, percent, put, show } from "./dom.js"
import { LivePicture } from "./live_picture.js"
import { cameras, isLost, link, now, person, whose, workers } from "./store.js"

const WORDS = {
  connecting: "Connecting", running: "Running", stalled: "No pictures come",
  reconnecting: "Lost, reconnecting", ended: "Ended", failed: "Failed",
}
const DEAD = { frozen: "The picture is frozen", black: "The picture is black", grey: "The picture is grey" }
const OLD = 15 // seconds after which a prediction is no longer the present
const cards = new Map()
let pictures = false
let why = () => {}

/** `ask(camera)` opens the scores of a camera. */
export function setUp(ask) {
  why = ask
}

export function showPictures(yes) {
  pictures = yes
  draw()
}

export function draw() {
  for (const [camera, card] of cards) {
    if (!cameras.has(camera)) {
      card.root.remove()
      cards.delete(camera)
    }
  }
  const live = link.page === "live" && link.bus === "live"
  for (const known of cameras.values()) {
    if (!cards.has(known.camera)) cards.set(known.camera, build(known.camera))
    fill(cards.get(known.camera), known, live)
  }
  const lost = [...cameras.values()].filter(isLost).length
  const all = cameras.size
  put($("camera-count"), !all ? "" : lost ? `${lost} of ${all} lost` : `${all} camera${all > 1 ? "s" : ""}`)
  $("camera-count").dataset.lost = lost > 0
  show($("no-cameras"), !all)
  drawWorkers(live)
}

/** Of a cluster: its workers; those that are gone stand out, not by colour alone. */
function drawWorkers(live) {
  show($("workers"), live && workers.size > 0)
  const gone = new Set(["lost", "unheard"])
  const told = [...workers].sort(([a, one], [b, other]) => gone.has(other) - gone.has(one) || a.localeCompare(b))
  const key = JSON.stringify(told)
  if ($("workers").dataset.told === key) return
  $("workers").dataset.told = key
  $("workers").replaceChildren("Workers: ", ...told.flatMap(([name, state], index) => [
    index ? ", " : "", el("span", { "data-gone": String(gone.has(state)) }, el("bdi", {}, name), ` ${gone.has(state) ? "is " : ""}${state}`)]))
}

let numbers = 0

function build(camera) {
  const id = `camera-${numbers += 1}`
  const card = {
    badge: el("span", { class: "word" }), picture: new LivePicture(camera),
    actions: el("div", { class: "actions" }), problem: el("p", { class: "problem", hidden: true, dir: "auto" }),
    detail: el("p", { class: "note" }), rows: new Map(),
    why: el("p", {}, el("button", { type: "button", class: "quiet", "aria-label": `Why? Scores of ${camera}`, onclick: () => why(camera) }, "Why?")),
  }
  card.article = el("article", { "aria-labelledby": id },
    el("div", { class: "title" }, el("h3", { id, dir: "auto" }, camera),
      el("p", { class: "state" }, el("span", { class: "mark", "aria-hidden": "true" }), " ", card.badge)),
    card.picture.root, card.actions, card.problem, el("div", { class: "title" }, card.detail, card.why))
  card.root = el("li", { class: "camera" }, card.article)
  $("camera-list").append(card.root)
  return card
}

function fill(card, known, live) {
  const status = known.status
  const state = status?.state ?? "connecting"
  const unreachable = state === "connecting" && isLost(known)
  card.root.dataset.state = !live ? "unknown" : unreachable ? "failed" : state
  const dead = state === "running" ? DEAD[status?.picture] : null
  put(card.badge, !live ? "Not known now" : dead ?? (unreachable ? status.code === "unplaced" ? "No worker watches it" : "Cannot be opened, trying" : WORDS[state] ?? state))
  if (live && dead) card.root.dataset.state = "stalled"
  const wrong = live && status && (isLost(known) || dead)
  show(card.problem, Boolean(wrong))
  if (wrong) put(card.problem, `${status.detail || WORDS[state] || state} (since ${clock(status.since)}, ${lasted(now() - status.since)})`)
  show(card.actions, !wrong) // nothing is seen there
  fillActions(card, known, live && state === "running")
  const size = status?.width && status?.height ? `${status.width} × ${status.height}` : ""
  const rate = status?.fps && state === "running" ? `${status.fps.toFixed(1)} frames/s` : ""
  const said = !wrong && state !== "running" ? status?.detail : ""
  put(card.detail, [said, size, live ? rate : ""].filter(Boolean).join(", "))
  card.picture.draw(known, pictures, live)
  show(card.why, live && known.predictions.size > 0)
}

function fillActions(card, known, running) {
  const fresh = [...known.predictions.values()].filter((prediction) => running && now() - prediction.sent_at < OLD)
  const wanted = new Map(fresh.map((prediction) => [whose(prediction), prediction]))
  const models = new Set(fresh.map((prediction) => prediction.model)).size
  if (!wanted.size) wanted.set("", null)
  for (const [model, row] of card.rows) if (!wanted.has(model)) { row.root.remove(); card.rows.delete(model) }
  for (const [model, prediction] of wanted) {
    if (!card.rows.has(model)) {
      const row = { what: el("bdi", { class: "what" }), score: el("span", { class: "score" }), fill: el("span"), model: el("span", { class: "note" }) }
      row.bar = el("span", { class: "bar", "aria-hidden": "true" }, row.fill)
      row.root = el("p", { class: "action" }, row.what, " ", row.score, row.bar, row.model)
      card.rows.set(model, row)
      card.actions.append(row.root)
    }
    const row = card.rows.get(model)
    const stable = prediction?.stable
    if (stable) row.fill.dataset.colour = colour(stable.label)
    put(row.what, stable ? stable.display : prediction ? "Nothing recognised" : "—")
    row.root.dataset.known = Boolean(stable)
    put(row.score, stable ? percent(stable.score) : "")
    row.fill.style.inlineSize = `${100 * (stable?.score ?? 0)}%`
    const who = prediction?.track ? person(prediction.track) : ""
    put(row.model, [who, models > 1 ? prediction?.model : ""].filter(Boolean).join(", "))
  }
}
