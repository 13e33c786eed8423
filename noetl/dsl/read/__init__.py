"""The canonical spelling: nodes to the Structs of `noetl.dsl.playbook`."""
