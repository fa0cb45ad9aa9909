"""What the events' settings mean for one model of a camera: names in its own words, groups, thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamer.config import EventsConfig, LabelRule
from streamer.errors import ConfigError
from streamer.labels.label_set import LabelSet
from streamer.labels.model_labels import ModelLabels

EXIT = 0.7  # of a label's own threshold: where its event closes


def events_for(
    config: EventsConfig, own: ModelLabels, names: LabelSet, elsewhere: Iterable[str] | None = ()
) -> EventsConfig:
    """The events' settings as one model of a camera needs them.

    Names are turned into the model's own, the label set's groups and ignored labels come in, and what is
    meant for the camera's other models stays out.

    Args:
        config: as written.
        own: the model's labels.
        names: the label set.
        elsewhere: labels of the camera's other models; None: unknown names are of no interest at all.

    Returns:
        A config; a name that nobody knows stays in it, for the tracker to refuse. What a
        rule leaves out is the model's or its words', then the common one.

    Raises:
        ConfigError: a rule's exit is not below its enter.
    """
    config = with_recommended(config, own.events)
    others = set(elsewhere or ())
    all_groups = {**names.groups, **config.groups}

    def translate(wanted: Sequence[str], groups: Iterable[str] = ()) -> tuple[str, ...]:
        """In the model's own words, without what is meant for others."""
        known = [*own.labels, *groups]
        found = dict.fromkeys(names.known_as(name, known) for name in wanted)
        return tuple(name for name in found if name in known or not foreign(name))

    def foreign(name: str) -> bool:
        return elsewhere is None or name in all_groups or names.known_as(name, others) in others

    groups = {name: translate(members) for name, members in config.groups.items()}
    for name, members in names.groups.items():
        if name not in groups and name not in own.labels:
            groups[name] = tuple(label for label in translate(members) if label in own.labels)
    groups = {name: members for name, members in groups.items() if members}
    usual = [name for name in translate(names.ignore, groups) if name in own.labels or name in groups]
    usual_rules = {label: LabelRule(enter=at) for label, at in own.thresholds}
    thresholds = dict(usual_rules)
    for name, rule in config.thresholds.items():
        for label in translate([name], groups):
            own_rule = thresholds.get(label, LabelRule())
            thresholds[label] = own_rule.model_copy(update=rule.model_dump(exclude_none=True))
    thresholds = {
        label: _with_exit(config, label, rule) if label in usual_rules else rule
        for label, rule in thresholds.items()
    }
    include = None if config.include is None else translate(config.include, groups)
    # what is asked for by name is only ignored where the settings themselves say so
    unasked = [name for name in (*usual, *own.ignored) if name not in (include or ())]
    ignore = dict.fromkeys([*translate(config.ignore, groups), *unasked])
    background = own.background if config.background is None else translate(config.background, groups)
    update = {
        "background": tuple(name for name in background if name not in (include or ())),
        "groups": groups,
        "include": include,
        "ignore": tuple(ignore),
        "thresholds": thresholds,
    }
    return config.model_copy(update=update)


def with_recommended(config: EventsConfig, own: Iterable[tuple[str, float]]) -> EventsConfig:
    """The settings with a model's own (name, value) in the place of those that nobody has set."""
    unset = {name: value for name, value in own if name not in config.model_fields_set}
    changed = config.model_copy(update=unset)
    return changed if changed.exit < changed.enter else config


def _with_exit(config: EventsConfig, label: str, rule: LabelRule) -> LabelRule:
    """The rule of a label that has a threshold of its own: its exit is as far below as is usual."""
    enter = config.enter if rule.enter is None else rule.enter
    leave = min(config.exit, EXIT * enter) if rule.exit is None else rule.exit
    if not leave < enter and enter > 0:
        raise ConfigError(
            f"events.thresholds: {label!r}: exit ({leave:g}) must be below enter ({enter:g}), "
            "which the model or its words say; give both"
        )
    return rule.model_copy(update={"exit": leave})
