"""A benchmark on a board, whatever the board is: the same steps over a session, and what was seen."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil import zoo
from hil.backend.base import BoardOptions
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
# Results are printed with three decimals.
_RESULT_TOLERANCE = 0.00051
# A board's clock counts microseconds where it does not report phases in nanoseconds.
LAP_RESOLUTION_S = 1e-6


@dataclass(frozen=True)
class Observation:
    """What a board reported.

    ``phase_samples_s``: seconds per execution of a phase, one sample per window; ``op_s``: seconds per inference of ops
    that the board timed by themselves.
    """

    identity: Identity
    phase_samples_s: dict[str, tuple[float, ...]]
    op_s: dict[int, float]
    outputs: OutputFigures | None
    accuracy: Accuracy | None
    board: BoardFigures
    notes: tuple[str, ...] = ()


def observe(session: Session, plan: Plan, options: BoardOptions, repeat: int) -> Observation:
    """Run the benchmark on a connected board.

    Raises LinkError, and ConfigError where the board runs something else or a data set does not fit.
    """
    identity = session.identity
    if identity is None:
        raise LinkError("the session is not connected", hint="connect() first")
    notes = _check_identity(session, identity, plan)
    network = plan.network
    data = random_input(network, options.seed)
    session.load(data)
    warmups = options.warmups if options.warmups is not None else 0 if is_emulated(identity) else REAL_WARMUPS
    inferences = _inferences(session, options, repeat, warmups)
    samples: dict[str, list[float]] = {}
    for _ in range(options.windows):
        result = session.infer(inferences, warmups)
        times = {time.name: time.ns * 1e-9 / time.count for time in _phases(session, identity) if time.count}
        if result.latency_s is not None:
            times.setdefault("inference", result.latency_s)
        for phase, seconds in times.items():
            samples.setdefault(phase, []).append(seconds)
    if "inference" not in samples:
        raise LinkError("the board gave no times", hint="set it to performance mode: it is in energy mode")
    op_s: dict[int, float] = {}
    for op in _ops(session, identity):  # an op may be several steps of the firmware
        op_s[op.index] = op_s.get(op.index, 0.0) + op.ns * 1e-9 / inferences
    outputs = _outputs(session, identity, network, data, options.seed, result.results)
    accuracy = _accuracy(session, identity, network, options.data_set) if options.data_set is not None else None
    return Observation(
        identity,
        {phase: tuple(values) for phase, values in samples.items()},
        op_s,
        outputs,
        accuracy,
        _board(session, identity, warmups, inferences, options.windows),
        notes,
    )


def is_emulated(identity: Identity) -> bool:
    """Boards of hil that live in virtual time say so in their profile (docs/protocol.md)."""
    return identity.firmware.startswith("hil ") and identity.firmware.endswith(", emulated")


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


def _inferences(session: Session, options: BoardOptions, repeat: int, warmups: int) -> int:
    """How many inferences make a window."""
    if options.window_s is None:
        return repeat
    latency_s = session.infer(1, warmups).latency_s
    if not latency_s:
        return repeat
    return max(repeat, math.ceil(1.05 * options.window_s / latency_s))


def _phases(session: Session, identity: Identity) -> Sequence[PhaseTime]:
    return session.phases() if "phases" in identity.features else ()


def _ops(session: Session, identity: Identity) -> Sequence[OpTime]:
    return session.ops() if "ops" in identity.features else ()


def _outputs(
    session: Session, identity: Identity, network: Network, data: bytes, seed: int, results: Sequence[float]
) -> OutputFigures | None:
    """The outputs against the reference interpreter's: bytes where the board gives them, else the printed results."""
    reference = _reference(network)
    if reference is None:
        return None
    expected = reference.run(_split(network, data))
    if "outputs" not in identity.features:
        shown = [round(value, 3) for value in _real(network, expected)]
        equal = len(shown) == len(results) and all(
            abs(one - other) <= _RESULT_TOLERANCE for one, other in zip(shown, results, strict=True)
        )
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


def _split(network: Network, data: bytes) -> list[bytes]:
    parts, start = [], 0
    for index in network.inputs:
        size = network.tensors[index].size_bytes
        parts.append(data[start : start + size])
        start += size
    return parts


def _real(network: Network, outputs: Sequence[bytes]) -> list[float]:
    """Output values as the firmware prints them: dequantized, in order."""
    import numpy as np

    values: list[float] = []
    for index, data in zip(network.outputs, outputs, strict=True):
        quantization = network.tensors[index].quantization
        scale = np.float32(quantization.scales[0] if quantization else 1.0)
        zero_point = quantization.zero_points[0] if quantization else 0
        values += [float(scale * np.float32(int(v) - zero_point)) for v in np.frombuffer(data, np.int8)]
    return values


def _accuracy(session: Session, identity: Identity, network: Network, name: str) -> Accuracy:
    """Every sample of a data set on the board: predictions against labels and against the reference interpreter."""
    import numpy as np

    inputs, labels = data_set(network, name)
    reference = _reference(network)
    if reference is None:
        raise NetworkError(f"{network.name}: needs weights for a reference", hint="give the .tflite")
    correct = reference_correct = different = 0
    for sample, wanted in zip(inputs, labels, strict=True):
        session.load(sample.tobytes())
        results = session.infer(1, 0).results
        if "outputs" in identity.features:
            results = tuple(float(value) for part in session.outputs() for value in np.frombuffer(part, np.int8))
        predicted = int(np.argmax(results))
        expected = int(np.argmax(np.frombuffer(b"".join(reference.run([sample.tobytes()])), np.int8)))
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
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{name}: not a data set: {error}", hint="digits, or a .npz with the arrays inputs and labels"
            ) from error
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
