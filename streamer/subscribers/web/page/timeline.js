// The last minutes as bars, a row for each camera. For readers who cannot see it, the table of recent events.

import { colour } from "./colours.js"
import { $, el, lasted, percent, put, shortTime } from "./dom.js"
import * as filters from "./filters.js"
import { cameras, events, now, person } from "./store.js"

const rows = new Map() // camera -> {root, track, bars: Map(id -> bar), gaps: [bar]}
const TICK_ROOM = 100 // pixels for one time below the bars
const STEPS = [30, 60, 180, 300, 900] // seconds between two of them
const axis = el("div", { class: "axis", "aria-hidden": "true" })

export function draw(isAlert) {
  const span = filters.span()
  const end = now()
  const start = end - span
  const shown = [...cameras.keys()].filter((camera) => !filters.camera() || camera === filters.camera())
  const byCamera = new Map(shown.map((camera) => [camera, []]))
  for (const event of events.values()) {
    if (!filters.wants(event)) continue
    if (!byCamera.has(event.camera)) byCamera.set(event.camera, [])
    byCamera.get(event.camera).push(event)
  }
  for (const [camera, row] of rows) if (!byCamera.has(camera)) { row.root.remove(); rows.delete(camera) }
  for (const [camera, found] of byCamera) {
    if (!rows.has(camera)) rows.set(camera, build(camera))
    fill(rows.get(camera), camera, found, start, end, isAlert)
  }
  drawAxis(start, end, span)
  drawColours([...byCamera.values()].flat())
}

/** The names of what is shown, with their colours: a short bar has no room for its name. */
function drawColours(shown) {
  const names = new Map(shown.map((event) => [event.label, event.display]))
  const key = JSON.stringify([...names].sort().map(([label, display]) => [label, display, colour(label)]))
  if ($("colours").dataset.key === key) return
  $("colours").dataset.key = key
  $("colours").replaceChildren(...[...names].sort((a, b) => a[1].localeCompare(b[1])).map(([label, display]) =>
    el("li", {}, el("span", { class: "swatch", "aria-hidden": "true", "data-colour": colour(label) }), " ", el("bdi", {}, display))))
}

function build(camera) {
  const track = el("div", { class: "track", role: "img" })
  const root = el("div", { class: "row" }, el("p", { class: "who", dir: "auto" }, camera), track)
  $("tracks").append(root)
  return { root, track, bars: new Map(), gaps: [] }
}

function fill(row, camera, found, start, end, isAlert) {
  const there = new Set(found.map((event) => event.id))
  for (const [id, bar] of row.bars) if (!there.has(id)) { bar.remove(); row.bars.delete(id) }
  for (const event of found) {
    if (!row.bars.has(event.id)) {
      const bar = el("span", { class: "event" }, el("bdi", {}, event.display))
      row.bars.set(event.id, bar)
      row.track.append(bar)
    }
    const bar = row.bars.get(event.id)
    const right = place(bar, event.started_at, event.ended_at, start, end)
    bar.dataset.colour = colour(event.label)
    bar.dataset.open = event.phase !== "end"
    bar.dataset.alert = isAlert(event.label)
    bar.title = [event.display, lasted(right - event.started_at), percent(event.peak), ...(event.track ? [person(event.track)] : [])].join(", ")
  }
  const outages = (cameras.get(camera)?.status?.outages ?? []).filter(([, until]) => (until ?? end) > start)
  while (row.gaps.length > outages.length) row.gaps.pop().remove()
  while (row.gaps.length < outages.length) {
    row.gaps.push(el("span", { class: "outage" }, el("span")))
    row.track.append(row.gaps.at(-1))
  }
  outages.forEach(([since, until], index) => {
    const text = `lost ${lasted((until ?? end) - since)}`
    place(row.gaps[index], since, until, start, end)
    put(row.gaps[index].firstChild, text)
    row.gaps[index].title = text
  })
  describe(row, camera, found, outages, end - start)
}

/** The same in words, for a screen reader. */
function describe(row, camera, found, outages, span) {
  const open = found.filter((event) => event.phase !== "end").map((event) => event.display)
  const on = open.length ? `; going on: ${open.join(", ")}` : ""
  const gone = outages.length ? `; lost ${outages.length === 1 ? "once" : `${outages.length} times`}` : ""
  const text = `${camera}: ${found.length} event${found.length === 1 ? "" : "s"} in the last ${lasted(span).replace(" 0 s", "")}${on}${gone}`
  if (row.track.getAttribute("aria-label") !== text) row.track.setAttribute("aria-label", text)
}

/** Put a bar where its time is; until null: to now. The end that is shown, in Unix seconds. */
function place(bar, since, until, start, end) {
  const left = Math.max(since, start)
  const right = Math.min(until ?? end, end)
  const share = (seconds) => `${(100 * seconds / (end - start)).toFixed(3)}%`
  bar.style.insetInlineStart = share(left - start)
  bar.style.inlineSize = share(Math.max(0, right - left))
  return right
}

function drawAxis(start, end, span) {
  const room = axis.clientWidth / TICK_ROOM
  const step = STEPS.find((seconds) => span / seconds <= room) ?? STEPS.at(-1)
  const wanted = []
  for (let at = Math.ceil(start / step) * step; at < end; at += step) wanted.push(at)
  while (axis.children.length > wanted.length) axis.lastChild.remove()
  while (axis.children.length < wanted.length) axis.append(el("span"))
  axis.dataset.span = span
  wanted.forEach((at, index) => {
    const tick = axis.children[index]
    put(tick, step < 60 ? new Date(at * 1000).toLocaleTimeString() : shortTime(at))
    tick.style.insetInlineStart = `${(100 * (at - start) / span).toFixed(3)}%`
    tick.dataset.edge = (at - start) / span < 0.05 || (at - start) / span > 0.93
  })
  if ($("tracks").lastChild !== axis) $("tracks").append(axis)
}
