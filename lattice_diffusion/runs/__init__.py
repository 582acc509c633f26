"""From a spec to a result file: independent points, measured on any executor, resumable at any moment."""
