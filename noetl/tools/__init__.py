"""What a step can call. Each tool is one module; see `noetl.tools.tool`."""
