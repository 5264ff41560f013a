"""Raw values to numbers and back: columns, text, time stamps, series."""
