// The last minutes as bars, a row for each camera. For readers who cannot see it, the table of recent events.

import { $, el, lasted, percent, put, shortTime } from "./dom.js"
import { cameras, events, now } from "./store.js"

const rows = new Map() // camera -> {root, track, bars: Map(id -> bar)}
const axis = el("div", { class: "axis", "aria-hidden": "true" })

export function draw(isAlert) {
  const span = Number($("span").value)
  const end = now()
  const start = end - span
  const byCamera = new Map([...cameras.keys()].map((camera) => [camera, []]))
  for (const event of events.values()) {
    if ((event.ended_at ?? end) < start) continue
    if (!byCamera.has(event.camera)) byCamera.set(event.camera, [])
    byCamera.get(event.camera).push(event)
  }
  for (const [camera, row] of rows) if (!byCamera.has(camera)) { row.root.remove(); rows.delete(camera) }
  for (const [camera, found] of byCamera) {
    if (!rows.has(camera)) rows.set(camera, build(camera))
    fill(rows.get(camera), camera, found, start, end, isAlert)
  }
  drawAxis(start, end, span)
}

function build(camera) {
  const track = el("div", { class: "track", role: "img" })
  const root = el("div", { class: "row" }, el("p", { class: "who", dir: "auto" }, camera), track)
  $("tracks").append(root)
  return { root, track, bars: new Map() }
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
    place(row.bars.get(event.id), event, start, end, isAlert(event.label))
  }
  const open = found.filter((event) => event.phase !== "end").map((event) => event.display)
  const on = open.length ? `; going on: ${open.join(", ")}` : ""
  const text = `${camera}: ${found.length} event${found.length === 1 ? "" : "s"} in the last ${lasted(end - start).replace(" 0 s", "")}${on}`
  if (row.track.getAttribute("aria-label") !== text) row.track.setAttribute("aria-label", text)
}

function place(bar, event, start, end, alert) {
  const left = Math.max(event.started_at, start)
  const right = Math.min(event.ended_at ?? end, end)
  const share = (seconds) => `${(100 * seconds / (end - start)).toFixed(3)}%`
  bar.style.insetInlineStart = share(left - start)
  bar.style.inlineSize = share(Math.max(0, right - left))
  bar.dataset.open = event.phase !== "end"
  bar.dataset.alert = alert
  bar.title = `${event.display}, ${lasted(right - event.started_at)}, ${percent(event.peak)}`
}

function drawAxis(start, end, span) {
  const step = span > 600 ? 180 : span > 200 ? 60 : 30
  const wanted = []
  for (let at = Math.ceil(start / step) * step; at < end; at += step) wanted.push(at)
  while (axis.children.length > wanted.length) axis.lastChild.remove()
  while (axis.children.length < wanted.length) axis.append(el("span"))
  wanted.forEach((at, index) => {
    const tick = axis.children[index]
    put(tick, step < 60 ? new Date(at * 1000).toLocaleTimeString() : shortTime(at))
    tick.style.insetInlineStart = `${(100 * (at - start) / span).toFixed(3)}%`
    tick.dataset.edge = (at - start) / span < 0.05 || (at - start) / span > 0.93
  })
  if ($("tracks").lastChild !== axis) $("tracks").append(axis)
}
