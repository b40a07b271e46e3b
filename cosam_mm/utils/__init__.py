"""The ground floor: config edits, files, command lines, progress, work-arounds."""
