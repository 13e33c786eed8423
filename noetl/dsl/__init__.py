"""The playbook language: text to the canonical playbook, its net, its templates."""
