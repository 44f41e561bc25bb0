"""From a source of rows to the files a student is trained on: read, map, filter, measure, label, count."""
