"""The form that makes data with EasyDistill 2.x."""
