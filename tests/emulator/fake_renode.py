"""A stand-in for Renode: the server for Robot Framework, without an emulator behind it.

It is started by a script that names the file to record commands in.  ``FAKE_RENODE`` says how it behaves:

``slow``         never listens
``dies``         ends at its start
``wrapped``      another process listens, as with a start script
``short-lived``  ends soon after the command ``start``

Commands: ``fail ...`` is refused, ``die`` ends it, ``hang`` never answers, ``garbage`` answers no status.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCServer


def main(record: Path) -> None:
    behaviour = os.environ.get("FAKE_RENODE", "")
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
        if command == "start" and behaviour == "short-lived":
            threading.Timer(0.2, os._exit, [3]).start()
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
