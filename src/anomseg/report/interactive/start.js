sortTables();
startExplorer();
