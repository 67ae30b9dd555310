"""``hil networks``: the zoo's networks, or one network op by op."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from hil.cli.common import add_common, console, load_networks, verb


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verb(verbs, "networks", "list the zoo's networks, or show one op by op", "hil networks show zoo:kws")
    parser.add_argument("action", nargs="?", default="list", metavar="list|show", help="default: list")
    parser.add_argument("networks", nargs="*", metavar="NAME|FILE", help="zoo:NAME, a .tflite file or a layer list")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.action not in ("list", "show"):  # hil networks NAME means show
        args.networks, args.action = [args.action, *args.networks], "show"
    networks = load_networks(args.networks or ["zoo:all"])
    documents = [describe(network, ops=args.action == "show") for network in networks]
    if args.json:
        sys.stdout.write(json.dumps({"schema": 1, "networks": documents}, indent=1) + "\n")
    elif args.action == "show":
        for document in documents:
            _show(document)
    else:
        _list(documents)
    return 0


def describe(network: Any, *, ops: bool) -> dict[str, Any]:
    """Totals of a network, and its ops where asked, as plain data."""
    from hil.network.memory import plan_memory

    arena = plan_memory(network)
    document: dict[str, Any] = {
        "name": network.name,
        "source": network.source,
        "provenance": network.provenance,
        "precision": network.precision,
        "inputs": [list(network.tensors[t].shape) for t in network.inputs],
        "outputs": [list(network.tensors[t].shape) for t in network.outputs],
        "op_count": len(network.ops),
        "macs": network.macs,
        "pool_macs": network.pool_macs,
        "parameters": network.parameters,
        "weight_bytes": network.weight_bytes,
        "bias_bytes": network.bias_bytes,
        "activation_arena_bytes": arena.arena_bytes,
        "activation_lower_bound_bytes": arena.lower_bound_bytes,
        "peak_op": arena.peak_op,
        "hash": network.hash,
    }
    if ops:
        document["ops"] = [
            {
                "index": op.index,
                "name": op.name,
                "type": op.type,
                "in_shapes": [list(network.tensors[t].shape) for t in op.inputs],
                "out_shapes": [list(network.tensors[t].shape) for t in op.outputs],
                "kernel": list(op.kernel),
                "stride": list(op.stride),
                "padding": list(op.padding),
                "dilation": list(op.dilation),
                "groups": op.groups,
                "activation": op.activation,
                "macs": op.macs,
                "weights": op.weights,
                "biases": op.biases,
                "weight_bytes": op.weight_bytes,
                "bias_bytes": op.bias_bytes,
                "read_bytes": network.read_bytes(op),
                "write_bytes": network.write_bytes(op),
                "live_bytes": arena.live_bytes[op.index],
                "quantization": _quantization(network, op),
            }
            for op in network.ops
        ]
    return document


def _quantization(network: Any, op: Any) -> list[dict[str, Any] | None]:
    """Of the op's outputs: scale and zero point, or how many per-channel scales."""
    found: list[dict[str, Any] | None] = []
    for tensor in op.outputs:
        quantization = network.tensors[tensor].quantization
        if quantization is None:
            found.append(None)
        else:
            found.append(
                {
                    "dtype": network.tensors[tensor].dtype,
                    "scale": list(quantization.scales),
                    "zero_point": list(quantization.zero_points),
                }
            )
    return found


def _list(documents: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from hil.units import format_bytes, format_count

    table = Table(box=None, pad_edge=False)
    table.add_column("network")
    table.add_column("input")
    for name in ("ops", "MACs", "parameters", "weights", "activations", "at best"):
        table.add_column(name, justify="right")
    table.add_column("precision")
    for d in documents:
        table.add_row(
            d["name"],
            "x".join(str(n) for n in d["inputs"][0][1:]) if d["inputs"] else "-",
            str(d["op_count"]),
            format_count(d["macs"]),
            format_count(d["parameters"]),
            format_bytes(d["weight_bytes"]),
            format_bytes(d["activation_arena_bytes"]),
            format_bytes(d["activation_lower_bound_bytes"]),
            d["precision"],
        )
    console().print(table)


def _show(document: dict[str, Any]) -> None:
    from rich.table import Table

    from hil.report.tables import say
    from hil.units import format_bytes, format_count

    out = console()
    say(
        out,
        f"{document['name']}  ({document['source']}, {document['provenance']}, {document['precision']})\n"
        f"MACs {document['macs']:,}   parameters {document['parameters']:,}   weights "
        f"{format_bytes(document['weight_bytes'])} + biases {format_bytes(document['bias_bytes'])}   activations "
        f"{format_bytes(document['activation_arena_bytes'])} (at best "
        f"{format_bytes(document['activation_lower_bound_bytes'])}, at op {document['peak_op']})",
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("op", justify="right")
    table.add_column("type", max_width=18)
    table.add_column("input")
    table.add_column("output")
    table.add_column("kernel")
    table.add_column("act.", max_width=7)
    for name in ("MACs", "params", "read", "write"):
        table.add_column(name, justify="right")
    for op in document["ops"]:
        kernel = "x".join(map(str, op["kernel"])) if op["kernel"] != [1, 1] or op["macs"] else ""
        stride = f"/{op['stride'][0]}" if max(op["stride"]) > 1 else ""
        table.add_row(
            str(op["index"]),
            op["type"],
            "x".join(str(n) for n in op["in_shapes"][0][1:]) if op["in_shapes"] else "-",
            "x".join(str(n) for n in op["out_shapes"][0][1:]) if op["out_shapes"] else "-",
            kernel + stride,
            op["activation"] or "",
            format_count(op["macs"]),
            format_count(op["weights"] + op["biases"]),
            format_bytes(op["read_bytes"]),
            format_bytes(op["write_bytes"]),
        )
    out.print(table)
