"""The tab: drawn without torch, fed by snapshots of jobs."""
