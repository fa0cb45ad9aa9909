// "Why was this (not) an event?": the smoothed scores around a moment, with the thresholds that they are held to.

import { keepAsking } from "./ask.js"
import { colour } from "./colours.js"
import { $, clock, el, fillSelect, lasted, percent, put, show } from "./dom.js"
import { labels, now } from "./store.js"

const WIDEST = 640, NARROWEST = 260, HEIGHT = 200, LEFT = 40, BOTTOM = 22, TOP = 8
const NS = "http://www.w3.org/2000/svg"
let asked = null // {camera, model, track, label, since, until, event, ended}
const FOLLOW = 2 // seconds between two looks at the scores of an event that goes on
const LONGEST_LOOK = 330 // seconds that computing where the model looked may take
let running = 0
let looking = 0
let loaded = null // when the scores that are shown were asked for, Unix seconds; null: they are not there yet

/** Show the scores of `camera` from `since` to `until`; `event`: the one that is asked about, if it is one.
 * `track`: the person, null for the whole picture; `people`: [track, text] of those to choose from. */
export function ask({ people = [], ...wanted }) {
  asked = { ...wanted, ended: wanted.event?.phase === "end" }
  show($("why-person-row"), people.length > 1)
  $("why-person").replaceChildren(...people.map(([track, text]) => el("option", { value: track ?? "" }, text)))
  $("why-person").value = wanted.track ?? ""
  clearLook()
  $("why-label").dataset.key = ""
  fillSelect($("why-label"), [...labels].sort((a, b) => a[1].localeCompare(b[1])), "The strongest")
  $("why-label").value = wanted.label ?? ""
  return load()
}

// ---- where the model looked: computed when somebody asks, from the event's clip

/** Whether that can be asked: a clip of the event is kept. */
export function offerLook(yes) {
  show($("look-row"), yes)
}

async function look() {
  const mine = looking += 1
  const { event } = asked
  $("look").disabled = true
  put($("look-text"), "Computing; that takes some seconds …")
  const query = new URLSearchParams({ camera: event.camera, event: event.id, model: event.model ?? "", label: event.label })
  const told = await keepAsking(`/attention?${query}`, {
    longest: LONGEST_LOOK, wanted: () => mine === looking,
    failed: (text) => put($("look-text"), `It cannot be shown: ${text}`),
  })
  if (mine !== looking) return
  $("look").disabled = false
  if (!told) return
  $("look-picture").replaceChildren(el("img", {
    src: `/attention?${query}`, alt: `The frames in which the model was surest of ${event.display}, in order; orange where it looked` }))
  show($("look-picture"), true)
  put($("look-text"), `Orange: more of the answer came from there. The frames of the window in which it was surest of ${event.display}, in order. A hint, not a proof.`)
}

function clearLook() {
  looking += 1
  $("look").disabled = false
  offerLook(false)
  $("look-picture").replaceChildren()
  show($("look-picture"), false)
  put($("look-text"), "")
}

$("look").addEventListener("click", look)

/** The event that was asked about goes on, or has just ended: so do its scores. */
export function follow(event, until) {
  asked.event = event
  if (loaded === null || loaded > asked.until || now() - loaded < FOLLOW) return
  const ended = event.phase === "end", quiet = ended === asked.ended
  Object.assign(asked, { until, ended })
  load(quiet)
}

/** `quiet`: nobody asked, so a screen reader is not told of each change, and what is drawn stays until there is better. */
async function load(quiet = false) {
  const mine = running += 1
  const { camera, model, track, label, since, until } = asked
  const query = new URLSearchParams({ camera, since, until, ...(label ? { label } : {}), ...(model ? { model } : {}), ...(track ? { track } : {}) })
  const at = now()
  loaded = null
  $("why-text").setAttribute("aria-live", quiet ? "off" : "polite")
  const told = await keepAsking(`/scores?${query}`, {
    wanted: () => mine === running,
    failed: (text) => {
      if (!quiet) $("why-chart").replaceChildren()
      put($("why-text"), `There are no ${quiet ? "newer " : ""}scores: ${text}`)
    },
  })
  if (!told) return
  loaded = at
  const some = told.times.length > 1
  $("why-chart").replaceChildren(...(some ? [chart(told), legend(told)] : []))
  put($("why-text"), some ? inWords(told) : "No scores are kept of that time: they stay in memory for about 15 minutes.")
}

// ---- in words

function inWords(told) {
  const { series, half_life: halfLife } = told
  const [{ display: shown, rule }] = series
  const { times, scores } = ownPart(told)
  const best = Math.max(...scores)
  const at = clock(times[scores.indexOf(best)])
  const begin = `${shown} reached ${percent(best)} at ${at}.`
  if (!rule) return `${begin} It is never an event here: it is ignored, not included, or part of a group.`
  const { enter, exit, min_on: minOn, min_off: minOff } = rule
  const longest = longestOver(times, scores, enter)
  const needs = `An event needs ${percent(enter)} or more for ${lasted(minOn)}, and ends below ${percent(exit)} for ${lasted(minOff)}.`
  let verdict
  if (best < enter) verdict = `It stayed below: ${percent(enter - best)} short.`
  else if (longest + 0.001 < minOn) verdict = `It stayed above for ${lasted(longest)} only.`
  else verdict = `It stayed above for ${lasted(longest)}: an event.`
  const other = series.slice(1).find((one) => Math.max(...one.scores) > best)
  const rival = other && best < enter ? ` ${other.display} was stronger, with ${percent(Math.max(...other.scores))}.` : ""
  const smooth = halfLife ? ` The scores are averages with a half-life of ${lasted(halfLife)}.` : ""
  return `${begin} ${verdict}${rival} ${needs}${smooth}`
}

/** The times and scores that the words are about: the event's own, where its label is shown, and not those of the same
 * action before or after it; else all that are shown. */
function ownPart({ times, series }) {
  const [{ label, scores, rule }] = series
  const { event } = asked
  if (!event || !rule || label !== event.label) return { times, scores }
  const ended = event.ended_at ?? times.at(-1)
  let from = times.findIndex((at) => at >= event.started_at)
  let to = times.findLastIndex((at) => at <= ended)
  if (from < 0 || to < from) return { times, scores }
  while (from > 0 && scores[from - 1] >= rule.exit) from -= 1 // dates may be moved by a model's lag
  while (to < times.length - 1 && scores[to + 1] >= rule.exit) to += 1
  return { times: times.slice(from, to + 1), scores: scores.slice(from, to + 1) }
}

/** Seconds of the longest stretch at or above the threshold. */
function longestOver(times, scores, enter) {
  let longest = 0, since = null
  scores.forEach((score, index) => {
    since = score >= enter ? since ?? times[index] : null
    if (since !== null) longest = Math.max(longest, times[index] - since)
  })
  return longest
}

// ---- drawn

function svg(tag, properties, text) {
  const made = document.createElementNS(NS, tag)
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value)
  if (text !== undefined) made.textContent = text
  return made
}

function chart({ times, series }) {
  const width = Math.min(WIDEST, Math.max(NARROWEST, $("why-chart").clientWidth)) // drawn in the size it is shown in: text stays readable
  const first = times[0], last = times.at(-1)
  const x = (at) => LEFT + (width - LEFT - 6) * (at - first) / Math.max(0.001, last - first)
  const y = (score) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - score)
  const [main, ...others] = series
  const root = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `Scores of ${series.map((one) => one.display).join(", ")} from ${clock(first)} to ${clock(last)}` })
  const { event } = asked
  if (event) {
    const from = x(Math.max(first, event.started_at)), to = x(Math.min(last, event.ended_at ?? last))
    root.append(svg("rect", { class: "event-span", x: from, y: TOP, width: Math.max(1, to - from), height: y(0) - TOP }))
  }
  for (const score of [0, 0.5, 1]) {
    root.append(svg("line", { class: "grid", x1: LEFT, x2: width - 6, y1: y(score), y2: y(score) }),
      svg("text", { class: "tick", x: LEFT - 5, y: y(score) + 4, "text-anchor": "end" }, percent(score)))
  }
  for (const part of [0, 0.5, 1]) {
    const at = first + part * (last - first)
    root.append(svg("text", { class: "tick", x: x(at), y: HEIGHT - 6, "text-anchor": ["start", "middle", "end"][2 * part] }, clock(at)))
  }
  others.forEach((one, index) => root.append(line(one, "other", index)))
  if (main.rule) rules(root, main, times, width, x, y)
  root.append(line(main, "main", 0))
  return root

  function line({ scores, label }, kind, index) {
    const points = scores.map((score, n) => `${x(times[n]).toFixed(1)},${y(score).toFixed(1)}`).join(" ")
    return svg("polyline", { class: kind, points, "data-colour": colour(label), "data-dash": index })
  }
}

/** enter and exit as lines, and min_on from each moment at which the score came over enter. */
function rules(root, { scores, rule }, times, width, x, y) {
  for (const [kind, score] of [["enter", rule.enter], ["exit", rule.exit]]) {
    root.append(svg("line", { class: kind, x1: LEFT, x2: width - 6, y1: y(score), y2: y(score) }),
      svg("text", { class: "rule", x: width - 8, y: y(score) - 3, "text-anchor": "end" }, `${kind} ${percent(score)}`))
  }
  let above = false
  scores.forEach((score, index) => {
    if (score >= rule.enter && !above) {
      const from = x(times[index]), to = Math.min(width - 6, x(times[index] + rule.min_on))
      root.append(svg("rect", { class: "min-on", x: from, y: y(rule.enter) - 4, width: Math.max(1, to - from), height: 8 }))
    }
    above = score >= rule.enter
  })
}

function legend({ series }) {
  const keys = series.map(({ label, display: shown }, index) => el("li", {},
    el("span", { class: index ? "key other" : "key main", "aria-hidden": "true", "data-colour": colour(label), "data-dash": index - 1 }), " ", el("bdi", {}, shown)))
  const min = series[0].rule ? [el("li", {}, el("span", { class: "key min-on", "aria-hidden": "true" }), ` min_on ${lasted(series[0].rule.min_on)}`)] : []
  return el("ul", { class: "legend" }, ...keys, ...min)
}

export function close() {
  running += 1
  looking += 1
  asked = null
}

$("why-person").addEventListener("change", () => {
  if (!asked) return
  asked = { ...asked, track: Number($("why-person").value) || null }
  load()
})
$("why-label").addEventListener("change", () => {
  if (!asked) return
  asked = { ...asked, label: $("why-label").value || null }
  load()
})
