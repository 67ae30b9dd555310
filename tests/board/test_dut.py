"""The board's side, byte for byte as the protocol has it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from known_board import KnownModel, results_of

from hil.board import codec
from hil.board.dut import Dut, InferOutcome
from hil.board.errors import BoardFault

INPUT = bytes(range(40))
RESULTS = ",".join(f"{value:.3f}" for value in results_of(INPUT)).encode()


def lines(*texts: str) -> bytes:
    return b"".join(text.encode() + b"\r\n" for text in (*texts, "m-ready"))


def plain() -> Dut:
    dut = Dut(KnownModel(features=()))
    dut.boot()
    return dut


def loaded(features: tuple[str, ...] = codec.FEATURES) -> Dut:
    dut = Dut(KnownModel(features))
    dut.boot()
    for words in codec.load_commands(INPUT):
        dut.feed(codec.encode_command(*words))
    return dut


def test_a_plain_mlperf_board() -> None:
    dut = Dut(KnownModel(features=()))
    assert dut.boot() == lines("m-timestamp-mode-performance", "m-init-done")
    assert dut.feed(b"name%") == lines("m-name-dut-[hil]")
    assert dut.feed(b"profile%") == lines("m-profile-[hil 1 known]", "m-model-[known01]")
    assert dut.feed(b"timestamp%") == lines("m-lap-us-1000")
    assert dut.feed(b"features%") == lines("e-[Unknown command: features]")
    assert dut.feed(b"db load 40%") == lines("m-[Expecting 40 bytes]")
    assert dut.feed(b"db " + INPUT[:31].hex().encode() + b"%") == lines()
    assert dut.feed(b"db " + INPUT[31:].hex().encode() + b"%") == lines("m-load-done")
    assert dut.feed(b"db print%") == lines(
        "m-buffer-00-01-02-03-04-05-06-07",
        "m-buffer-08-09-0a-0b-0c-0d-0e-0f",
        "m-buffer-10-11-12-13-14-15-16-17",
        "m-buffer-18-19-1a-1b-1c-1d-1e-1f",
        "m-buffer-20-21-22-23-24-25-26-27",
    )
    # One inference takes 2345 us; the clock stands at 1000 us before 3953.937 us of preparation and three warm-ups.
    assert dut.feed(b"infer 2 3%") == lines(
        "m-warmup-start-3",
        "m-warmup-done",
        "m-infer-start-2",
        "m-lap-us-11988",
        "m-lap-us-16678",
        "m-infer-done",
        f"m-results-[{RESULTS.decode()}]",
    )
    assert dut.feed(b"results%") == lines(f"m-results-[{RESULTS.decode()}]")
    assert dut.feed(b"help%").endswith(b"m-ready\r\n")


def test_the_optional_verbs() -> None:
    dut = loaded()
    assert dut.feed(b"features%") == lines("m-features-[phases,point,memory,outputs,ops,laps,borders]")
    dut.feed(b"infer 2 0%")
    assert dut.feed(b"phases%") == lines(
        "m-phase-[npu_init,812345,1]",
        "m-phase-[weight_load,3141592,1]",
        "m-phase-[inference,4690000,2]",
        "m-phase-[output_read,10007,1]",
        "m-phases-done",
    )
    assert dut.feed(b"ops%") == lines("m-op-[0,4000000,100000,2]", "m-op-[3,690000,0,2]", "m-ops-done")
    assert dut.feed(b"point%") == lines("m-point-[max78000,100MHz,100000000,50000000,0]")
    assert dut.feed(b"memory%") == lines(
        "m-memory-[weights,70000,442368]", "m-memory-[activations,27648,524288]", "m-memory-done"
    )
    pieces = dut.feed(b"outputs%").split(b"\r\n")
    assert [piece[: piece.rindex(b",") + 1] for piece in pieces[:5]] == [
        b"m-output-[0,0,",
        b"m-output-[1,0,",
        b"m-output-[1,32,",
        b"m-output-[1,64,",
        b"m-output-[1,96,",
    ]
    assert pieces[5:] == [b"m-outputs-done", b"m-ready", b""]
    assert dut.feed(b"laps%") == lines("m-laps-[4953,9643]")
    assert dut.feed(b"borders%") == lines(
        "m-border-[npu_init,1000000,1812345]",
        "m-border-[weight_load,1812345,4953937]",
        "m-border-[inference,4953937,9643937]",
        "m-border-[output_read,9643937,9653944]",
        "m-borders-done",
    )


def test_borders_leave_the_warm_ups_out() -> None:
    dut = loaded()
    dut.feed(b"infer 1 3%")
    assert dut.feed(b"borders%") == lines(
        "m-border-[npu_init,1000000,1812345]",
        "m-border-[weight_load,1812345,4953937]",
        "m-border-[inference,11988937,14333937]",
        "m-border-[output_read,14333937,14343944]",
        "m-borders-done",
    )


def test_borders_laps_and_results_need_an_inference() -> None:
    dut = loaded()
    for verb in (b"borders%", b"laps%", b"results%"):
        assert dut.feed(verb) == lines("e-[No results]")
    dut.feed(b"infer 1 0%")
    assert dut.feed(b"borders%") != lines("e-[No results]")
    dut.boot()
    assert dut.feed(b"borders%") == lines("e-[No results]")


def test_only_announced_verbs_exist() -> None:
    dut = loaded(features=("point",))
    assert dut.feed(b"features%") == lines("m-features-[point]")
    assert dut.feed(b"phases%") == lines("e-[Unknown command: phases]")


def test_defaults_of_infer_are_one_inference_and_ten_warmups() -> None:
    answer = loaded().feed(b"infer%")
    assert answer.startswith(b"m-warmup-start-10\r\nm-warmup-done\r\nm-infer-start-1\r\n")


def test_energy_mode_prints_no_laps() -> None:
    dut = Dut(KnownModel(), mode="energy")
    assert dut.boot() == lines("m-timestamp-mode-energy", "m-init-done")
    assert dut.feed(b"timestamp%") == lines()
    assert b"m-lap" not in dut.feed(b"infer 1 0%")


def test_refusals() -> None:
    dut = plain()
    for command, text in {
        b"foo bar%": "Unknown command: foo",
        b"%": "Unknown command: ",
        b"x" * 80 + b"%": "Command too long",
        b"db%": "Command 'db' requires a subcommand",
        b"db load%": "Command 'db load' must be >0 bytes",
        b"db load 27649%": "Supplied buffer size 27649 exceeds maximum of 27648",
        b"db 00%": "No bytes expected",
        b"db 0%": "Invalid hex digits",
        b"infer 0%": "Inference iterations must be >0",
        b"results%": "No results",
    }.items():
        assert dut.feed(command) == lines(f"e-[{text}]")


def test_a_failed_accelerator_answers_in_place_of_laps_and_results() -> None:
    class Broken(KnownModel):
        def infer(self, inferences: int, warmups: int) -> InferOutcome:
            raise BoardFault("NPU error")

    dut = Dut(Broken())
    dut.boot()
    start = ("m-warmup-start-0", "m-warmup-done", "m-infer-start-1")
    assert dut.feed(b"infer 1 0%") == lines(*start, "e-[NPU error]")
    assert dut.feed(b"results%") == lines("e-[No results]")


def test_digits_beyond_the_last_expected_byte_are_disregarded() -> None:
    dut = plain()
    dut.feed(b"db load 2%")
    assert dut.feed(b"db aabbcc%") == lines("m-load-done")
    assert dut.feed(b"db print%") == lines("m-buffer-aa-bb")


def test_boot_forgets_the_input_and_the_results() -> None:
    dut = loaded()
    dut.feed(b"infer 1 0%")
    dut.boot()
    assert dut.feed(b"db print%") == lines()
    assert dut.feed(b"results%") == lines("e-[No results]")


@given(st.lists(st.one_of(st.binary(max_size=90), st.sampled_from([b"%", b"db ", b"load ", b"infer ", b"7"]))))
def test_no_bytes_make_the_board_fail_and_every_command_is_answered(pieces: list[bytes]) -> None:
    dut = plain()
    answer = b"".join(dut.feed(piece) for piece in pieces)
    assert answer.count(b"m-ready\r\n") == b"".join(pieces).count(b"%")
