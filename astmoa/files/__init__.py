"""What comes from files and goes into them, whoever wrote them: read within bounds, checked, shown, written whole."""
