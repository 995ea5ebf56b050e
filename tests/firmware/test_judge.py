"""The board's state machine is the runtime's: the same scores give the same events, whatever the rules."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.bundle.manifest import Rejection
from edge_ad.errors import UsageError
from edge_ad.firmware_bridge.host_library import ENGINE
from edge_ad.firmware_bridge.watching import ONE, Rules
from edge_ad.runtime.decision import Decision, DecisionConfig

FIRMWARE = ENGINE.parent
KINDS, VERDICTS = ("new", "update", "end"), ("normal", "uncertain", "anomalous")


class CRules(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint16) for name in (
        "k", "n", "release", "cooldown", "min_frames", "update_interval", "hysteresis", "rise")]  # fmt: skip


class CLevels(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("threshold", "lower", "upper")]


class CChange(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint32), ("kind", ctypes.c_uint8), ("verdict", ctypes.c_uint8)]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is needed (scripts/setup.sh installs it)")
    out = tmp_path_factory.mktemp("judge") / "judge.so"
    flags = ["-std=c99", "-O1", "-fPIC", "-shared", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    subprocess.run([compiler, *flags, str(FIRMWARE / "judge.c"), "-o", str(out)], check=True)
    return ctypes.CDLL(str(out))


small = st.integers(-40, 40)
wide = st.integers(-(2**31), 2**31 - 1)


@st.composite
def rules(draw: st.DrawFn) -> DecisionConfig:
    n = draw(st.integers(1, 32))
    separate = n == 1 and draw(st.booleans())
    return DecisionConfig(
        k=draw(st.integers(1, n)),
        n=n,
        release=0 if separate else draw(st.integers(1, 5)),
        cooldown=0 if separate else draw(st.integers(0, 5)),
        min_frames=1 if separate else draw(st.integers(1, 4)),
        update_interval=draw(st.integers(1, 8)),
        hysteresis=draw(st.integers(1, ONE)) / ONE,
        rise=draw(st.integers(0, 0xFFFF)) / ONE,
    )


@settings(max_examples=300, deadline=None)
@given(data=st.data(), config=rules(), number=st.sampled_from([small, wide]))
def test_the_same_events_as_the_runtime(
    judge: ctypes.CDLL, data: st.DataObject, config: DecisionConfig, number: st.SearchStrategy[int]
) -> None:
    lower, threshold, upper = sorted(data.draw(st.tuples(number, number, number)))
    band = (
        Rejection(lower=lower, upper=upper, stability=0.9, expected_rate=0.1, n=100)
        if lower < upper
        else None
    )
    ours = Decision(threshold, config, band)
    state = ctypes.create_string_buffer(256)
    c_rules = CRules(*Rules(**{f: getattr(config, f) for f in Rules.__dataclass_fields__}).words())
    assert judge.edge_rules_ok(ctypes.byref(c_rules))
    judge.edge_judge_start(state, ctypes.byref(c_rules), ctypes.byref(CLevels(threshold, lower, upper)))
    changes = (CChange * 2)()

    def told(count: int) -> list[tuple[str, int, str]]:
        return [(KINDS[c.kind], c.number, VERDICTS[c.verdict]) for c in changes[:count]]

    steps = st.lists(st.one_of(number, st.sampled_from(["gap", "set"])), max_size=60)
    for step in data.draw(steps):
        if step == "gap":
            ours.gap()
            judge.edge_judge_gap(state)
        elif step == "set":
            value = data.draw(number)
            ours = _with_threshold(ours, value)
            judge.edge_judge_by(state, ctypes.byref(CLevels(value, value, value)))
        else:
            assert judge.edge_judge_is_peak(state, step) & 1 == ours.is_new_peak(step)
            expected = [(c.kind, c.number, c.verdict) for c in ours.step(step)]
            assert told(judge.edge_judge_step(state, step, changes)) == expected
    assert told(judge.edge_judge_close(state, changes)) == [
        (c.kind, c.number, c.verdict) for c in ours.close()
    ]


def _with_threshold(decision: Decision, value: int) -> Decision:
    """By a threshold that is not the first one: without a band."""
    if value == decision._own[0]:
        decision._own = (value, None)
    decision.set_threshold(value)
    return decision


@pytest.mark.parametrize(
    ("change", "what"),
    [({"n": 33}, "at most 32 frames"), ({"cooldown": 70000}, "cooldown"), ({"rise": 2.5}, "rise")],
)
def test_rules_that_a_board_cannot_hold_are_refused(change: dict[str, float], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Rules(**change).words()  # type: ignore[arg-type]
