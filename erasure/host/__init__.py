"""Where the extension runs: each module is one host, and all answer :class:`erasure.host.base.Host`."""
