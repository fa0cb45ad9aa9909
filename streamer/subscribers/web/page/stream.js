// The connection to this page's server. It is opened anew whenever it breaks, from the last event on.

const SILENCE = 7000 // milliseconds; the server says something every 2 s
const LONGEST = 10000

/** `handlers`: one function for each kind of message, and `page(state, detail)` for the connection itself. */
export function follow(handlers) {
  let source, last = "", watchdog, failures = 0

  function heard(state = "live") {
    clearTimeout(watchdog)
    watchdog = setTimeout(() => broken("silent"), SILENCE)
    failures = 0
    handlers.page(state, "")
  }

  function open() {
    source = new EventSource(last ? `/stream?last=${encodeURIComponent(last)}` : "/stream")
    clearTimeout(watchdog)
    watchdog = setTimeout(() => broken("silent"), SILENCE)
    source.onerror = () => broken("gone")
    for (const kind of ["hello", "state", "event", "status", "prediction", "preview", "link", "workers", "gap", "beat"]) {
      source.addEventListener(kind, (message) => {
        heard()
        if (message.lastEventId) last = message.lastEventId
        handlers[kind]?.(JSON.parse(message.data))
      })
    }
  }

  function broken(state) {
    source.close()
    clearTimeout(watchdog)
    failures += 1
    handlers.page(state, "")
    if (failures > 1) explain()
    setTimeout(open, Math.min(LONGEST, 500 * 2 ** Math.min(failures, 6)) * (0.75 + Math.random() / 2))
  }

  /** An EventSource does not say why it failed: ask. */
  async function explain() {
    try {
      const answer = await fetch("/stream", { method: "HEAD", signal: AbortSignal.timeout(SILENCE) })
      if (answer.status === 401) location.assign("/") // the token was changed, or the time is over: log in again
      else if (answer.status === 503) handlers.page("refused", "too many pages are open; trying again")
    } catch { /* the server is not there: that has been said */ }
  }

  addEventListener("pagehide", () => source.close())
  addEventListener("pageshow", (event) => { if (event.persisted) open() })
  open()
}
