"""The `noetl` command, also as `python -m noetl`."""

import signal


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules load: Python would raise, and sometimes drop, a KeyboardInterrupt
    from noetl.cli.main import main as command  # noqa: PLC0415  see above

    command()


if __name__ == "__main__":
    main()
