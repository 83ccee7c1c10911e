unit!(state.db() as tx, retry = 3, allow = |e| e.is_gone(), -> Result<(), OrderError> { place(tx, item.clone()).await });
