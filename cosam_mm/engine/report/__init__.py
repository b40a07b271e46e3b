"""From the files of a training to the sections of a report."""
