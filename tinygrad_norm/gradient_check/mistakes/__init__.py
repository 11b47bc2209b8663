"""What a wrong gradient says about its mistake."""
