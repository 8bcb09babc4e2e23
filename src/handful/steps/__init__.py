"""The steps, one public function each."""
