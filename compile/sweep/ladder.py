"""The short ladder that a compile climbs to meet a budget: forms from the cheapest to make to the dearest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_ad.compile.sweep.executors import here
from edge_ad.compile.sweep.form import Asked, Form, Keep, Measured, Outcome
from edge_ad.compile.sweep.journal import Journal
from edge_ad.compile.sweep.pareto import misses
from edge_ad.compile.sweep.run import Searched, concluded, opened
from edge_ad.compile.sweep.search import Keys, baseline, measured, search
from edge_ad.compile.sweep.setting import Setting
from edge_ad.compile.target import Target
from edge_ad.errors import UsageError

LADDER = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # shares to prune, after what needs no pruning
PROBE = 0.8  # of these the one that tells whether pruning makes room at all
_HOPE = 1.1  # pruning makes a network at most this much faster than in proportion to its multiply-accumulates


@dataclass(frozen=True)
class Skipped:
    """A rung that was not tried, and why."""

    form: Form
    why: str


Rung = Outcome | Skipped


def climb(
    model: Path, target: Target, setting: Setting, asked: Asked, told: Callable[[Rung], None], keep: Keep = ()
) -> Searched:
    """Try forms of `model` until one meets what is asked: first the target's precisions, then with the layers in a
    higher one that a tolerance needs, then pruned by growing shares.

    Where flash or memory is short, a large share tells first whether pruning can make room at all. Shares are passed
    over that cannot make it fast enough; once a pruned form breaks the tolerance, larger shares are not tried. told:
    each outcome and each rung that is passed over. keep: layers that all int8 forms keep in a higher precision.
    Raises UsageError when nothing is asked.
    """
    if not asked:
        raise UsageError("say what a form has to meet", hint="--speedup 4, --max-auroc-drop 0.01")
    with opened([model], setting) as (keys, journal):
        ladder = _Ladder(setting, asked, keys, journal, told)
        first, *more = plain(model, target, keep)
        if not (ladder.meets(first) or any(ladder.meets(form) for form in more)):
            _prune(ladder, first, keep)
    return concluded(ladder.outcomes, setting, asked)


def _prune(ladder: _Ladder, first: Form, keep: Keep) -> None:
    """The rungs above the plain ones."""
    may_keep = first.precision == "int8" and not keep
    if may_keep and ladder.too_coarse() and ladder.meets(first.model_copy(update={"keep": "auto"})):
        return
    pruned = [first.model_copy(update={"prune": share}) for share in LADDER]
    if ladder.short_of_room(ladder.outcomes):
        probe = first.model_copy(update={"prune": PROBE})
        if ladder.short_of_room([ladder.tried(probe)]):
            pruned = [form for form in pruned if form.prune > PROBE]
    for form in pruned:
        if why := ladder.hopeless(form):
            ladder.told(Skipped(form, why))
        elif ladder.meets(form) or ladder.lost_too_much(ladder.tried(form)):
            return


def plain(model: Path, target: Target, keep: Keep = ()) -> list[Form]:
    """The forms that change nothing but the precision, the target's default first; float32 is what they are held to."""
    first = baseline(model, target)
    more = [first.model_copy(update={"precision": p}) for p in target.precisions[1:] if p != "fp32"]
    return [first.model_copy(update={"keep": keep}) if first.precision == "int8" else first, *more]


@dataclass
class _Ladder:
    """What was tried so far."""

    setting: Setting
    asked: Asked
    keys: Keys
    journal: Journal
    told: Callable[[Rung], None]
    forms: list[Form] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def tried(self, form: Form) -> Outcome:
        """The outcome of a form, which is measured and told unless it was before."""
        if form not in self.forms:
            self.forms.append(form)
            self.outcomes = search(
                self.forms, self.setting, self.keys, self.journal, here(), lambda outcome: None
            )
            self.told(self.outcomes[-1])
        return self.outcomes[self.forms.index(form)]

    def meets(self, form: Form) -> bool:
        """Whether a form, once tried, meets all that is asked."""
        outcome = self.tried(form)
        return isinstance(outcome, Measured) and not misses(outcome, self.asked)

    def lost_too_much(self, outcome: Outcome) -> bool:
        """Whether a form breaks the tolerance, or could not be had."""
        most = self.asked.max_drop
        return not isinstance(outcome, Measured) or (most is not None and outcome.altered.drop > most)

    def too_coarse(self) -> bool:
        """Whether all that was tried breaks the tolerance, so that layers in a higher precision may be worth it."""
        found = list(measured(self.outcomes))
        return bool(found) and all(self.lost_too_much(outcome) for outcome in found)

    def short_of_room(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether all of them take too much flash or memory."""
        room = Asked(flash_bytes=self.asked.flash_bytes, ram_bytes=self.asked.ram_bytes)
        found = list(measured(outcomes))
        return bool(found) and all(misses(m.model_copy(update={"over": []}), room) for m in found)

    def hopeless(self, form: Form) -> str | None:
        """Why a pruned form cannot be fast enough, None for one that may."""
        alike = [m for m in measured(self.outcomes) if m.form == form.model_copy(update={"prune": 0.0})]
        if self.asked.speedup is None or not alike or alike[0].speedup is None:
            return None
        bound = _HOPE * alike[0].speedup / (1 - form.prune)
        if bound >= self.asked.speedup:
            return None
        return f"at {alike[0].gain} unpruned it reaches {bound:.2f} times at best"
