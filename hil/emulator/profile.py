"""Count the instructions that the firmware's kernels take for the zoo: ``python -m hil.emulator.profile``.

Every network runs once on every QEMU image with all ops on the core, at a scale of one board nanosecond per
instruction, so that the times that the firmware reports are instruction counts.  The counts are exact and the same
every time; ``hil.emulator.clock`` turns them into cycles per instruction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from hil import zoo
from hil.board.link import open_link
from hil.board.session import Limits, Session
from hil.cost.workload import build_workload
from hil.emulator.clock import SCHEMA, TABLE, TimeScales, on_cpu
from hil.emulator.images import Image, images
from hil.emulator.latency import Latencies
from hil.emulator.layout import TimeClass
from hil.emulator.npu import NpuServer
from hil.emulator.process import Workspace
from hil.emulator.program import build_program
from hil.emulator.qemu import QemuEngine, ticks
from hil.files import write_atomic
from hil.network import Network
from hil.platform import load_platform, make_target

# A platform for plans: its figures do not matter here, all ops run on the core.
_PLATFORM = "stm32h7a3"
_COUNTED = [kind for kind in TimeClass if kind not in (TimeClass.OFF, TimeClass.WAIT, TimeClass.CODE)]
_SCALES = TimeScales({TimeClass.WAIT: 1.0, **dict.fromkeys(_COUNTED, 1.0)}, {})


def count(network: Network, image: Image) -> dict[str, Any]:
    """Instructions of one network on one image: per op, and of the phases around the inference."""
    target = make_target(load_platform(_PLATFORM))
    plan = on_cpu(network, target)
    nothing = Latencies(0, 0, 0, (0,) * len(network.ops))
    program = build_program(plan, latencies=nothing, scales=_SCALES.q20(ticks(image)))
    with Workspace() as space:
        engine = QemuEngine(image, program.image, NpuServer(program), space)
        try:
            with Session(lambda: open_link(engine.url), limits=Limits(run_s=600)) as session:
                session.connect()
                session.load(np.random.default_rng(1).bytes(network.input_bytes))
                session.infer(1, 0)
                phases = {time.name: time.ns for time in session.phases()}
                ops: dict[str, int] = {}
                for op in session.ops():
                    ops[str(op.index)] = ops.get(str(op.index), 0) + op.ns
        finally:
            engine.close()
    return {
        "ops": ops,
        "input_load": phases["input_load"],
        "post_process": phases["post_process"],
        "decoded_values": int(build_workload([plan]).plan["decoded_values"][0]),
    }


def profile(image: Image) -> Iterator[tuple[str, dict[str, Any]]]:
    """Counts of every zoo network on an image."""
    for name in zoo.names():
        yield name, count(zoo.load(name), image)


def summary(counts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the clock needs of an image: instructions by network and op, per byte copied, and for decoding."""
    networks = {name: zoo.load(name) for name in counts}
    decoded = [found for found in counts.values() if found["decoded_values"]]
    ends = sorted((networks[name].input_bytes, found["input_load"]) for name, found in counts.items())
    (least_bytes, least), (most_bytes, most) = ends[0], ends[-1]
    return {
        "ops": {name: found["ops"] for name, found in counts.items()},
        # The slope: what a copy costs to start is the firmware's own.
        "copy_instructions_per_byte": (most - least) / (most_bytes - least_bytes),
        "post_process": {
            "instructions": sum(found["post_process"] for found in decoded),
            "values": sum(found["decoded_values"] for found in decoded),
        },
    }


def main() -> None:
    """Profile every QEMU image and write the table."""
    table = {image.name: summary(dict(profile(image))) for image in images().values() if image.engine == "qemu"}
    document = {"schema": SCHEMA, "images": table}
    write_atomic(TABLE, (json.dumps(document, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
