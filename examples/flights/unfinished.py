"""Say how to go on with a run that was killed. Reads what `noetl executions list --json` prints; `make run` calls this."""

from __future__ import annotations

import json
import sys


def main() -> None:
    newest = next(iter(json.load(sys.stdin)), None)
    if newest is not None and newest["ended_at"] is None:
        command = f"{sys.argv[1] if len(sys.argv) > 1 else 'noetl'} run --resume {newest['execution_id']}"
        print(f"The run of {newest['started_at']} did not end. To go on with it instead: {command}")


if __name__ == "__main__":
    main()
