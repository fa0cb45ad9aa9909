// Each action has its own colour, the same in every part of the page and at the next visit. The eight of Okabe
// and Ito, which people who see fewer colours can tell apart; where there are more actions their names do.

import * as prefs from "./prefs.js"

const COLOURS = 8
const MOST = 200 // actions that are remembered
const order = new Map(prefs.get("colours", []).map((label, index) => [label, index]))

/** Number of the action's colour: `data-colour` in page.css. */
export function colour(label) {
  if (!order.has(label) && order.size < MOST) {
    order.set(label, order.size)
    prefs.set("colours", [...order.keys()])
  }
  return (order.get(label) ?? 0) % COLOURS
}
