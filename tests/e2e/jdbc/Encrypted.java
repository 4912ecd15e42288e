import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** Encrypted PASSWORD PORT ROOT_CERTIFICATE: logs in with sslmode=verify-full, prints what a query says. */
final class Encrypted {
  public static void main(String[] arguments) throws SQLException {
    String url = "jdbc:postgresql://localhost:" + arguments[1]
        + "/test?user=app&sslmode=verify-full&sslrootcert=" + arguments[2] + "&loginTimeout=30&socketTimeout=30";
    try (Connection connection = DriverManager.getConnection(url + "&password=" + arguments[0]);
        Statement statement = connection.createStatement();
        ResultSet rows = statement.executeQuery("select repeat('x', 100000)")) {
      rows.next();
      System.out.println(rows.getString(1).length());
    }
  }
}
