"""Processes for the author's code.

    node ── pool ── keeper ═══ control socket ═══ nursery          one per node; forks, watches, kills
              └── worker ═══ calls, stdout, stderr ═══ child       forked from the nursery; runs one call at a time

Why a nursery: a fork of a small, single-threaded process that has imported all that a call needs takes a millisecond, is safe (a fork of the
node, with its threads, is not), and gives the code an interpreter that knows nothing of the node. Why the nursery also watches and kills: it is the
parent, so it learns of every death, no process id can be used again before it looks, and what it reads in /proc never holds up the node's loop.

What is promised, whatever the code does:

- When a call has ended or was cancelled, nothing of it runs on: its session and all that descend from it are gone, its directory is deleted.
- When the node dies, the nursery sees its socket close or the node's pidfd become readable, kills everything and exits. When the nursery dies,
  the kernel kills the workers (PR_SET_PDEATHSIG) and the node kills what is left of their sessions.
- Nothing is unpickled. What crosses is msgpack in frames of bounded length.

On systems other than Linux there is no /proc, no subreaper and no death signal: a call's process group is killed instead of its family.
"""
