"""A stand-in for Renode: the server for Robot Framework, without an emulator behind it.

It is started by a script that names the file to record commands in.  ``FAKE_RENODE`` says how it behaves:

``slow``         never listens
``dies``         ends at its start
``wrapped``      another process listens, as with a start script
``short-lived``  ends soon after the command ``start``

Commands: ``fail ...`` is refused, ``die`` ends it, ``hang`` never answers, ``garbage`` answers no status, ``npu ...``
writes a line about the accelerator into the log, ``ReadDoubleWord`` finds what hil expects.  ``CreateUartPtyTerminal``
makes a PTY whose settings are no use, as Renode does without a terminal; on ``start`` a board boots there, which sends
back what it is sent.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer

REGISTERS = {"0x0": "0x4E4C4948\n", "0x1000": "0x600DCAFE\n"}


def echo(master: int) -> None:
    while data := os.read(master, 4096):
        os.write(master, data)


def main(record: Path) -> None:
    behaviour = os.environ.get("FAKE_RENODE", "")
    if "--version" in sys.argv:
        print("Renode v1.16.1.12345")
        return
    terminals: list[tuple[int, int]] = []
    log: list[Path] = []
    with record.open("a", encoding="utf-8") as file:
        print("argv", *sys.argv[2:], file=file)
    print("Renode says hello", flush=True)
    if behaviour == "dies":
        sys.exit("cannot open libsomething.so")
    if behaviour == "slow":
        time.sleep(1000)
    if behaviour == "wrapped" and os.fork():
        os.wait()
        return
    server = SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False, allow_none=True)

    def run_keyword(name: str, arguments: list[str]) -> dict[str, Any]:
        with record.open("a", encoding="utf-8") as file:
            print(name, *arguments, file=file)
        command = arguments[0]
        if command == "die":
            print("Unhandled exception", flush=True)
            os._exit(134)
        if command.startswith("logFile "):
            log.append(Path(shlex.split(command)[1].removeprefix("@")))
            log[-1].write_text("12:00:00 [INFO] System bus created.\n", encoding="utf-8")
        if command.startswith("npu "):
            with log[-1].open("a", encoding="utf-8") as file:
                file.write(f"12:00:01 [ERROR] board1/npu: {command[4:]}\n12:00:02 [INFO] cpu: halted\n")
        if "CreateUartPtyTerminal" in command:
            terminals.append(os.openpty())
            Path(shlex.split(command)[3]).symlink_to(os.ttyname(terminals[-1][1]))
        if command == "start" and terminals:
            os.write(terminals[-1][0], b"m-init-done\r\nm-ready\r\n")
            threading.Thread(target=echo, args=[terminals[-1][0]], daemon=True).start()
        if command == "start" and behaviour == "short-lived":
            threading.Timer(0.2, os._exit, [3]).start()
        if "ReadDoubleWord" in command:
            return {"status": "PASS", "return": REGISTERS[command.split()[-1]]}
        if command == "hang":
            time.sleep(1000)
        if command == "garbage":
            return {"unexpected": 1}
        if command.startswith("fail"):
            message = f"KeywordException: There was an error when executing command '{command}': No such command\n\n"
            return {"status": "FAIL", "error": message, "traceback": ""}
        return {"status": "PASS", "return": f"did {command}"} if command != "quiet" else {"status": "PASS"}

    server.register_function(run_keyword)
    folder = Path(os.environ["TMPDIR"]) / f"renode-{os.getpid()}"
    folder.mkdir()
    port_file = folder / "robot_port"
    port_file.touch()  # Renode makes the file first and fills it then
    time.sleep(0.1)
    port_file.write_text(str(server.server_address[1]), encoding="ascii")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
