"""Say how to go on with a run that was killed. `noetl executions list --json | python unfinished.py NOETL`; `make run` calls this."""

from __future__ import annotations

import datetime as dt
import json
import sys


def main() -> None:
    noetl = sys.argv[1]
    for execution in json.load(sys.stdin):  # newest first
        if execution["ended_at"] is None:
            started = dt.datetime.fromisoformat(execution["requested_at"]).astimezone()
            print(f"The run of {started:%H:%M:%S} did not end. Go on with it: {noetl} run --resume {execution['execution_id']}")
            print(f"or drop it: {noetl} executions cancel {execution['execution_id']}")
            return


if __name__ == "__main__":
    main()
