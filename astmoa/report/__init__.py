"""What a person looks at after a sweep: tables and pictures, made from records only."""

from astmoa.files.whole import whole_file

__all__ = ["whole_file"]
