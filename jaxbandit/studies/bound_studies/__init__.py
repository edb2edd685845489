"""Bounds against simulation: `options` (what to run), `hieropo` and `oto`, `measures`, `run`."""
