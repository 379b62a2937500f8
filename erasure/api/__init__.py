"""The HTTP API, the same in every host: jobs, concepts, presets and the schema of the settings under one prefix."""
