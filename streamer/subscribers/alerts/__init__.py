"""Notifications on a phone: events to ntfy, Pushover, Telegram, e-mail and a hundred more, by Apprise."""
