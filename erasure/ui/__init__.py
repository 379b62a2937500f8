"""The tab in the page. It needs no torch: it is drawn from snapshots of jobs."""
