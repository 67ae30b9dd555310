"""A benchmark on a board, whatever the board is: the same steps over a session, and what was seen."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hil import zoo
from hil.backend.base import BoardOptions
from hil.backend.borders import Told
from hil.backend.metered import Metered, MeteredEnergy, Traces, metered
from hil.backend.run import Accuracy, BoardFigures, OutputFigures
from hil.board.codec import OpTime, PhaseTime
from hil.board.session import Identity, Session
from hil.emulator.program import label
from hil.errors import ConfigError, LinkError, NetworkError
from hil.network import Network
from hil.network.reference import Reference
from hil.plan import Plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# MLPerf Tiny's default.  A board in virtual time has nothing to warm up.
REAL_WARMUPS = 10
# What a board does between the command and the first warm-up.
_BEFORE = ("npu_init", "weight_load", "input_load")
# Results are printed with three decimals.
_RESULT_TOLERANCE = 0.00051
# A board's clock counts microseconds where it does not report phases in nanoseconds.
LAP_RESOLUTION_S = 1e-6


@dataclass(frozen=True)
class Observation:
    """What a board reported.

    ``phase_samples_s``: seconds per execution of a phase, one sample per window; ``op_s``: seconds per inference of ops
    that the board timed by themselves.  ``resolution_s``: of a whole window of inferences.
    """

    identity: Identity
    phase_samples_s: dict[str, tuple[float, ...]]
    op_s: dict[int, float]
    outputs: OutputFigures | None
    accuracy: Accuracy | None
    board: BoardFigures
    notes: tuple[str, ...] = ()
    energy: MeteredEnergy | None = None
    resolution_s: float = LAP_RESOLUTION_S


def observe(
    session: Session, plan: Plan, options: BoardOptions, repeat: int, traces: Traces | None = None, baud: int = 115_200
) -> Observation:
    """Run the benchmark on a connected board, under a meter where there is one.  ``baud``: the rate of its port.

    Raises LinkError, and ConfigError where the board runs something else or a data set does not fit.
    """
    identity = session.identity
    if identity is None:
        raise LinkError("the session is not connected", hint="connect() first")
    network = plan.network
    samples = data_set(network, options.data_set) if options.data_set is not None else None
    reference = _reference(network)
    notes = _check_identity(session, identity, plan)
    data = random_input(network, options.seed)
    session.load(data, verify=True)
    warmups = options.warmups if options.warmups is not None else 0 if kind_of(identity) else REAL_WARMUPS
    inferences, expected_s, used = _inferences(session, identity, options, repeat, warmups, traces)
    times: dict[str, list[float]] = {}
    told: list[Told] = []
    for _ in range(options.windows):
        found = _infer(session, traces, inferences, warmups, expected_s)
        result = found.result
        phases = {time.name: time.ns * 1e-9 / time.count for time in _phases(session, identity) if time.count}
        if result.latency_s is not None:
            phases.setdefault("inference", result.latency_s)
        for phase, seconds in phases.items():
            times.setdefault(phase, []).append(seconds)
        if traces is not None:
            told.append(_told(session, identity, found, phases, baud))
    energy, resolution_s = None, LAP_RESOLUTION_S
    if traces is not None:
        energy = metered(traces, told, first=1 + used)
        notes += energy.meter.notes
        if energy.latency_s and "inference" not in times:  # a board in energy mode tells no times
            times["inference"] = list(energy.latency_s)
            resolution_s = energy.resolution_s
    if "inference" not in times:
        why = energy.meter.refused.get("inference", "") if energy is not None else ""
        raise LinkError(
            f"the board gave no times: it is in energy mode{why and f', and {why}'}",
            hint="set it to performance mode, or measure with --meter",
        )
    op_s: dict[int, float] = {}
    for op in _ops(session, identity):  # an op may be several steps of the firmware
        op_s[op.index] = op_s.get(op.index, 0.0) + op.ns * 1e-9 / inferences
    outputs = None
    if reference is not None:
        outputs = _outputs(session, identity, reference, data, options.seed, result.results)
    accuracy = None
    if samples is not None and options.data_set is not None:
        if reference is None:
            raise NetworkError(f"{network.name}: no reference to compare predictions with", hint="give a .tflite")
        accuracy = _accuracy(session, identity, reference, options.data_set, *samples)
    board = _board(session, identity, warmups, inferences, options.windows)
    if board.passed_on_retry:
        notes += (f"passed on retry: {'; '.join(board.attempts) or 'the link was not clean'}",)
    return Observation(
        identity,
        {phase: tuple(values) for phase, values in times.items()},
        op_s,
        outputs,
        accuracy,
        board,
        notes,
        energy,
        resolution_s,
    )


def kind_of(identity: Identity) -> Literal["emulated", "predicted"] | None:
    """Boards of hil that live in virtual time say so in their profile (docs/protocol.md): ``emulated`` executes the
    network, ``predicted`` has its times from the cost model.  None: a board in real time."""
    if not identity.firmware.startswith("hil "):
        return None
    for kind in ("emulated", "predicted"):
        if identity.firmware.endswith(f", {kind}"):
            return kind
    return None


def random_input(network: Network, seed: int) -> bytes:
    """Uniform random bytes for all inputs."""
    import numpy as np

    return np.random.default_rng(seed).bytes(network.input_bytes)


def _check_identity(session: Session, identity: Identity, plan: Plan) -> tuple[str, ...]:
    """hil's firmware says what it runs and at which operating point: that must be what was asked for.  Of another
    board only the name is known, and names of models differ between submissions."""
    network, target = plan.network.name, plan.target
    if "point" not in identity.features:
        return (f"the board says that it runs '{identity.model}'; whether that is {network}, it cannot say",)
    point = session.point()
    for what, found, asked in (
        ("network", identity.model, network),
        ("platform", point.platform, target.id),
        ("operating point", point.name, target.operating_point),
    ):
        if found != label(asked):
            raise ConfigError(f"the board's {what} is '{found}'; asked for '{asked}'", hint="flash it, or ask for that")
    return ()


def _infer(session: Session, traces: Traces | None, inferences: int, warmups: int, expected_s: float) -> Metered:
    if traces is None:
        return Metered(session.infer(inferences, warmups, expected_s), 0.0)
    return traces.infer(session, inferences, warmups, expected_s)


def _inferences(
    session: Session, identity: Identity, options: BoardOptions, repeat: int, warmups: int, traces: Traces | None
) -> tuple[int, float, int]:
    """How many inferences make a window, how long it should take with its warm-ups (0: unknown), and how many traces
    it took to find out.

    Raises ConfigError where the meter cannot tell either.
    """
    if options.window_s is None:
        return repeat, 0.0, 0
    used = 0
    if session.tells_laps:
        latency_s = session.infer(1, warmups).latency_s
    elif traces is None:
        latency_s = None
    else:  # in energy mode the meter tells the time
        used = 1
        found = traces.infer(session, repeat, warmups, 0.0)
        trial = metered(traces, [_told(session, identity, found, {}, 0)])
        if not trial.latency_s:
            raise ConfigError(
                f"{repeat} inferences in energy mode cannot be timed: {trial.meter.refused.get('inference', '')}",
                hint="--repeat 100: the first window, from which the length of the others is worked out",
            )
        latency_s = trial.latency_s[0]
    if not latency_s:
        return repeat, 0.0, used
    inferences = max(repeat, math.ceil(1.05 * options.window_s / latency_s))
    return inferences, latency_s * (inferences + warmups), used


def _told(session: Session, identity: Identity, found: Metered, phases_s: Mapping[str, float], baud: int) -> Told:
    """What a meter's trace is held against."""
    result = found.result
    laps_us = (result.lap_start_us, result.lap_end_us)
    return Told(
        result.inferences,
        (laps_us[0] * 1e-6, laps_us[1] * 1e-6) if laps_us[0] is not None and laps_us[1] is not None else None,
        borders=session.borders() if "borders" in identity.features else (),
        before_s=sum(phases_s.get(name, 0.0) for name in _BEFORE) + result.warmups * phases_s.get("inference", 0.0),
        baud=baud,
        warmups=result.warmups,
        host_s=found.host_s if kind_of(identity) is None else None,
    )


def _phases(session: Session, identity: Identity) -> Sequence[PhaseTime]:
    return session.phases() if "phases" in identity.features else ()


def _ops(session: Session, identity: Identity) -> Sequence[OpTime]:
    return session.ops() if "ops" in identity.features else ()


def _outputs(
    session: Session, identity: Identity, reference: Reference, data: bytes, seed: int, results: Sequence[float]
) -> OutputFigures:
    """The outputs against the reference interpreter's: bytes where the board gives them, else the printed results.

    Raises ConfigError where the board prints another number of results than the network has.
    """
    expected = reference.run(reference.split(data))
    if "outputs" not in identity.features:
        shown = [round(value, 3) for value in reference.real(expected)]
        if len(shown) != len(results):
            raise ConfigError(
                f"the board prints {len(results)} results; {reference.name} has {len(shown)}",
                hint="it runs another network: ask for that",
            )
        equal = all(abs(one - other) <= _RESULT_TOLERANCE for one, other in zip(shown, results, strict=True))
        return OutputFigures(results_equal=equal, input_seed=seed)
    found = session.outputs([len(part) for part in expected])
    different = sum(a != b for a, b in zip(b"".join(found), b"".join(expected), strict=True))
    return OutputFigures(
        sha256=hashlib.sha256(b"".join(found)).hexdigest(),
        bytes=sum(map(len, found)),
        different_bytes=different,
        equal=different == 0,
        input_seed=seed,
    )


def _reference(network: Network) -> Reference | None:
    """None for a network without weights, or one that the interpreter cannot run: nothing to compare with."""
    if network.model is None:
        return None
    try:
        return Reference(network.model, network.name)
    except NetworkError:
        return None


def _accuracy(
    session: Session,
    identity: Identity,
    reference: Reference,
    name: str,
    inputs: NDArray[np.generic],
    labels: NDArray[np.generic],
) -> Accuracy:
    """Every sample of a data set on the board: predictions against labels and against the reference interpreter.

    The protocol has no checksum: before a prediction counts as different, the sample is loaded again and read back.
    """
    import numpy as np

    correct = reference_correct = different = 0
    for sample, wanted in zip(inputs, labels, strict=True):
        data = sample.tobytes()
        expected = int(np.argmax(reference.real(reference.run([data]))))
        predicted = _predict(session, identity, reference, data, verify=None)
        if predicted != expected:
            predicted = _predict(session, identity, reference, data, verify=True)
        correct += predicted == int(wanted)
        reference_correct += expected == int(wanted)
        different += predicted != expected
    return Accuracy(
        data_set=name,
        samples=len(labels),
        correct=correct,
        reference_correct=reference_correct,
        different_predictions=different,
    )


def _predict(session: Session, identity: Identity, reference: Reference, data: bytes, *, verify: bool | None) -> int:
    """The index of the largest output."""
    import numpy as np

    session.load(data, verify=verify)
    results: Sequence[float] = session.infer(1, 0).results
    if "outputs" in identity.features:  # printed results have three decimals only
        results = reference.real(session.outputs([port.size_bytes for port in reference.outputs]))
    return int(np.argmax(results))


def data_set(network: Network, name: str) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Inputs ``[N, input bytes of one sample]`` as the network takes them, and labels ``[N]``.

    ``digits`` ships with hil; another name is a ``.npz`` with ``inputs`` (of the network's input type) and ``labels``.
    Raises ConfigError where it does not fit the network.
    """
    import numpy as np

    if len(network.inputs) != 1:
        raise ConfigError(f"{network.name}: {len(network.inputs)} inputs; a data set has one per sample")
    tensor = network.tensors[network.inputs[0]]
    if name == "digits":
        images, labels = zoo.digits_test_set()
        if tensor.quantization is None or tensor.dtype != "int8":
            raise ConfigError(f"{network.name}: its input is {tensor.dtype}; digits are int8")
        inputs: NDArray[Any] = zoo.quantize_digits(
            images, tensor.quantization.scales[0], tensor.quantization.zero_points[0]
        )
    else:
        try:
            with np.load(Path(name), allow_pickle=False) as archive:
                inputs, labels = archive["inputs"], archive["labels"]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"{name}: not a data set: {error}", hint="digits, or a .npz with the arrays inputs and labels"
            ) from error
    if inputs.ndim < 2 or len(inputs) == 0 or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"{name}: inputs of shape {inputs.shape}, labels of shape {labels.shape} and type {labels.dtype};"
            " expected inputs [N, ...] and whole labels [N]"
        )
    if inputs.dtype.name != tensor.dtype or inputs[0].nbytes != tensor.size_bytes or len(inputs) != len(labels):
        raise ConfigError(
            f"{name}: samples of {inputs[0].nbytes} bytes of {inputs.dtype.name}, {len(inputs)} of them,"
            f" {len(labels)} labels; {network.name} takes {tensor.size_bytes} bytes of {tensor.dtype}"
        )
    return inputs.reshape(len(inputs), -1), labels


def _board(session: Session, identity: Identity, warmups: int, inferences: int, windows: int) -> BoardFigures:
    stats = session.stats
    return BoardFigures(
        name=identity.vendor,
        profile=identity.firmware,
        model=identity.model,
        features=identity.features,
        bytes_in=stats.bytes_in,
        bytes_out=stats.bytes_out,
        bad_bytes=stats.bad_bytes,
        retries=stats.retries,
        reconnects=stats.reconnects,
        passed_on_retry=not stats.clean,
        attempts=tuple(f"{attempt.step}: {attempt.error}" for attempt in stats.attempts),
        warmups=warmups,
        inferences=inferences,
        windows=windows,
    )
