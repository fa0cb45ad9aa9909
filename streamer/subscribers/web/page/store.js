// What the page knows: cameras, events, labels. It is told by the stream, and tells whoever listens.

export const cameras = new Map() // name -> {camera, status, predictions: Map(model -> prediction), preview}
export const events = new Map() // id -> event as the server sends it
export const labels = new Map() // label -> what people call it
export const eventLabels = new Set() // labels that were events
export const workers = new Map() // of a cluster's front: name -> state
export const features = { known: false, live: false, snapshots: false, clips: false, recordings: false, marks: false, colours: {} } // of the run
export const link = { page: "connecting", bus: "connecting", since: Date.now() / 1000, detail: "", endpoint: "" }

const MOST_EVENTS = 1500
let skew = 0 // seconds that the server's clock is ahead of ours

/** Unix seconds by the server's clock. */
export const now = () => Date.now() / 1000 + skew

export function camera(name) {
  if (!cameras.has(name)) cameras.set(name, { camera: name, status: null, predictions: new Map(), preview: null, previewAt: 0, previewTracks: [] })
  return cameras.get(name)
}

/** Of which model a prediction is, and of whom: one that follows people says something of each. */
export const whose = ({ model, track }) => JSON.stringify([model, track?.id ?? null])

/** Somebody who is followed, in words; a number is of one camera and one run. */
export const person = (track) => `person ${track.id}`

export function takePrediction(told) {
  const known = camera(told.camera).predictions
  known.set(whose(told), told)
  for (const [key, { track, sent_at }] of known) if (track && told.sent_at - sent_at > 15) known.delete(key) // gone
  for (const { label, display } of told.top) labels.set(label, display)
}

/** Somebody has left: nothing that was said of them is the present any more. */
function forgetPerson({ camera: name, track, sent_at }) {
  const known = cameras.get(name)?.predictions ?? new Map()
  for (const [key, told] of known) if (told.track?.id === track.id && told.sent_at <= sent_at) known.delete(key)
}

/** Take in an event; {event, before} where it is news. */
export function takeEvent(event) {
  const before = events.get(event.id)
  labels.set(event.label, event.display)
  eventLabels.add(event.label)
  if (before && before.sent_at > event.sent_at) return null
  events.set(event.id, event)
  if (event.track && event.reason === "track lost") forgetPerson(event)
  return { event, before }
}

/** Take in the whole state; the changes in it, oldest first. */
export function takeState(state) {
  skew = state.now - Date.now() / 1000
  const seen = new Set()
  for (const told of state.cameras) {
    seen.add(told.camera)
    const known = camera(told.camera)
    known.status = told.status
    known.predictions = new Map(told.predictions.map((prediction) => [whose(prediction), prediction]))
  }
  for (const name of cameras.keys()) if (!seen.has(name)) cameras.delete(name)
  takeWorkers(state.workers)
  for (const { label, display } of state.labels) labels.set(label, display)
  const told = [...state.missed, ...state.events].sort((a, b) => a.sent_at - b.sent_at)
  const present = new Set(told.map((event) => event.id))
  for (const [id, event] of events) {
    if (event.phase !== "end" && !present.has(id)) events.delete(id) // nobody will say how it ended
  }
  return told.map(takeEvent).filter((change) => change && change.before?.phase !== change.event.phase)
}

export function takeWorkers(told) {
  workers.clear()
  for (const [name, state] of Object.entries(told)) workers.set(name, state)
}

export function forgetOldest() {
  if (events.size <= MOST_EVENTS) return
  const oldest = newestFirst().slice(MOST_EVENTS)
  for (const event of oldest) events.delete(event.id)
}

export const newestFirst = () => [...events.values()].sort((a, b) => b.started_at - a.started_at || b.seq - a.seq)

export const display = (label) => labels.get(label) ?? label

const LOST = new Set(["reconnecting", "failed", "stalled"])
/** Whether live pictures of a camera come now. */
export const hasPicture = (known) => known.preview !== null && now() - known.previewAt < 10

/** Lost, or never found: `code` says what is wrong with one that is still being connected to. */
export const isLost = ({ status }) => LOST.has(status?.state) || (status?.state === "connecting" && status.code !== null)
