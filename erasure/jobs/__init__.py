"""Jobs: erasures that run in the background, outlive the page that began them, and are kept on disk."""
