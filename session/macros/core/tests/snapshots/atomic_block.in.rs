atomic!(s, merged, -> Result<(), OrderError> { place(s, item).await });
