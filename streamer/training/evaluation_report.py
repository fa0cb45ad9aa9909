"""Measured numbers as tables for people, and the confusion matrix as CSV and PNG."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamer.system.text_table import text_table

MOST_LABELS_SHOWN = 20
CELL, MARGIN, LETTER = 26, 8, 6.2  # pixels of the picture


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report of `streamer evaluate` as text; of two models, both and how they compare."""
    other = report.get("against")
    if other is None:
        return _lines_of_one(report)
    return [*_lines_of_one(report), "", "against:", *_lines_of_one(other), "", *_compared(report, other)]


def _compared(report: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """A row for each figure that both have: the model, the one it is compared with, the difference."""
    figures, others = _figures(report), _figures(other)
    rows = []
    for name, (value, share) in figures.items():
        beside = others.get(name, (None, share))[0]
        scale, form, unit = (100.0, "{:.1f}", " %") if share else (1.0, "{:.3f}", "")
        shown = ["-" if v is None else form.format(scale * v) + unit for v in (value, beside)]
        more = "-"
        if value is not None and beside is not None:
            more = f"{scale * (value - beside):+.{1 if share else 3}f}"
        rows.append([name, *shown, more])
    names = [report["model"]["name"], other["model"]["name"]]
    if names[0] == names[1]:  # folders of one name in different places
        names[1] += " (against)"
    return table(["figure", *names, "difference"], rows)


def _figures(report: Mapping[str, Any]) -> dict[str, tuple[float | None, bool]]:
    """What two models are compared by: name -> (value, whether it is a share)."""
    found: dict[str, tuple[float | None, bool]] = {}
    if clips := report.get("clips"):
        found |= {
            f"clips, {name}": (clips[key], True) for name, key in (("top-1", "top1"), ("top-5", "top5"))
        }
        found["clips, macro F1"] = clips["macro_f1"], False
    if streams := report.get("streams"):
        found["windows inside an action, right"] = streams["window_accuracy"], True
        found["frame mAP"] = streams["frame_map"], True
        for limit, n in streams["events"].items():
            found |= {
                f"events at IoU {limit}, {key}": (n[key], False) for key in ("precision", "recall", "f1")
            }
        for key, n in streams["delay"].items():
            found[f"median delay to {key}_at, s"] = n["median"], False
        for key in ("raw", "stable"):
            found[f"label changes a minute, {key}"] = streams["label_changes_per_minute"][key], False
    if idle := report.get("idle"):
        found["idle, false events"] = float(idle["false_events"]), False
        found["idle, false events an hour"] = idle["false_events_per_hour"], False
    return found


def _lines_of_one(report: Mapping[str, Any]) -> list[str]:
    model, events = report["model"], report["events"]
    out = [
        f"model {model['name']}: {model['frames']} frames, one every {model['interval']:g} s "
        f"(span {model['span']:g} s), a window every {model['hop']:g} s",
        f"events: half-life {events['half_life']:g} s, enter {events['enter']:g}, exit {events['exit']:g}, "
        f"min on {events['min_on']:g} s, min off {events['min_off']:g} s; "
        f"background: {', '.join(report['background']) or 'none'}",
    ]
    if report.get("clips"):
        out += ["", *clip_lines(report["clips"])]
    if report.get("streams"):
        out += ["", *_stream_lines(report["streams"])]
    if report.get("people"):
        out += ["", *_people_lines(report["people"])]
    if report.get("idle"):
        out += ["", *_idle_lines(report["idle"])]
    return out


def clip_lines(clips: Mapping[str, Any]) -> list[str]:
    """The numbers of `measure_clips` as text."""
    out = [
        f"clips: {clips['clips']}   top-1 {percent(clips['top1'])}   top-5 {percent(clips['top5'])}   "
        f"macro F1 {clips['macro_f1']:.3f}   precision {clips['macro_precision']:.3f}   "
        f"recall {clips['macro_recall']:.3f}"
    ]
    rows = [
        [label, str(n["clips"]), f"{n['precision']:.3f}", f"{n['recall']:.3f}", f"{n['f1']:.3f}"]
        for label, n in clips["by_label"].items()
    ]
    worst_first = sorted(rows, key=lambda row: row[4])[:MOST_LABELS_SHOWN]
    shown = rows if len(rows) <= MOST_LABELS_SHOWN else worst_first
    out += table(["label", "clips", "precision", "recall", "F1"], shown)
    if len(rows) > MOST_LABELS_SHOWN:
        out.append(f"(the {MOST_LABELS_SHOWN} worst of {len(rows)} labels; --json has all)")
    return out


def _files(looked_at: Mapping[str, Any]) -> str:
    return "1 file" if looked_at["files"] == 1 else f"{looked_at['files']} files"


def _stream_lines(streams: Mapping[str, Any]) -> list[str]:
    minutes = streams["seconds"] / 60
    out = [
        f"streams: {_files(streams)}, {minutes:.1f} minutes, {streams['actions']} actions, "
        f"{streams['windows']} windows",
        f"windows wholly inside an action: {streams['windows_inside']}, "
        f"right {percent(streams['window_accuracy'])}; frame mAP {percent(streams['frame_map'])}",
    ]
    out += _event_table(streams["events"], "events, IoU")
    rows = [
        [f"true start to {key}_at", number(n["median"], " s"), number(n["p90"], " s"), str(n["count"])]
        for key, n in streams["delay"].items()
    ]
    out += table(["delay", "median", "p90", "events"], rows)
    changes = streams["label_changes_per_minute"]
    out.append(
        f"label changes a minute: raw {number(changes['raw'])}, stable {number(changes['stable'])}, "
        f"truth {number(changes['truth'])}"
    )
    return out


def _event_table(events: Mapping[str, Any], what: str) -> list[str]:
    rows = [
        [
            limit,
            str(n["tp"]),
            str(n["fp"]),
            str(n["fn"]),
            *(number(n[k]) for k in ("precision", "recall", "f1")),
        ]
        for limit, n in events.items()
    ]
    return table([what, "right", "false", "missed", "precision", "recall", "F1"], rows)


def _people_lines(people: Mapping[str, Any]) -> list[str]:
    out = [
        f"people: {_files(people)}, {people['seconds'] / 60:.1f} minutes, {people['people']} people, "
        f"{people['boxes']} boxes in {people['moments']} pictures",
        f"boxes, IoU 0.5: {percent(people['recall'])} found, {percent(people['precision'])} of told right",
        f"tracks: {people['tracks']}, {people['switches']} switches; IDF1 {percent(people['idf1'])}, "
        f"MOTA {percent(people['mota'])}, HOTA {percent(people['hota'])}",
    ]
    return out + (_event_table(people["events"], "events of people, IoU") if people["events"] else [])


def _idle_lines(idle: Mapping[str, Any]) -> list[str]:
    out = [
        f"idle: {_files(idle)}, {idle['seconds'] / 60:.1f} minutes, "
        f"{idle['false_events']} false events, {number(idle['false_events_per_hour'])} an hour"
    ]
    bad = {name: count for name, count in idle["false_events_by_file"].items() if count}
    return out + [f"  {name}: {count}" for name, count in bad.items()]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need to be, the first one left, the others right."""
    return [f"  {line}" for line in text_table(head, rows, right=head[1:])]


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.2f}{unit}"


def write_confusion(folder: Path, matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """`confusion.csv` and `confusion.png`: truth by row, guess by column. Raises OSError."""
    with (folder / "confusion.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["truth \\ guess", *labels])
        writer.writerows([label, *row] for label, row in zip(labels, matrix, strict=True))
    _draw(matrix, labels).save(folder / "confusion.png")


def _draw(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    cell = CELL if len(labels) <= 40 else max(2, 1040 // len(labels))
    words = cell == CELL  # beyond that nobody can read them: the CSV file names the cells
    room = int(LETTER * max((len(label) for label in labels), default=0)) + 2 * MARGIN if words else MARGIN
    side = room + cell * len(labels) + MARGIN
    picture = Image.new("RGB", (side, side), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(10)
    for i, row in enumerate(matrix):
        total = max(1, sum(row))
        for j, count in enumerate(row):
            left, top = room + j * cell, room + i * cell
            shade = round(255 * (1 - count / total))
            draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=(shade, shade, 255))
            if words and count:
                ink = "white" if count / total > 0.5 else "black"
                draw.text((left + cell / 2 - 1, top + cell / 2 - 1), str(count), ink, font, anchor="mm")
        if words:
            middle = room + i * cell + cell / 2
            draw.text((room - MARGIN, middle), labels[i], "black", font, anchor="rm")
            _upright(picture, labels[i], (round(middle - cell / 2), MARGIN), room - 2 * MARGIN, font)
    return picture


def _upright(picture: Any, text: str, place: tuple[int, int], room: int, font: Any) -> None:
    """A column's label, written from bottom to top."""
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (max(1, room), CELL), "white")
    ImageDraw.Draw(strip).text((0, CELL / 2), text, "black", font, anchor="lm")
    picture.paste(strip.rotate(90, expand=True), place)
